import { Limiter, ManualClock } from '../../lib/index'
import { runVectors, type VectorBackend } from './run-vectors'

runVectors((policy): VectorBackend => {
  const clock = new ManualClock()
  const limiter = new Limiter({ ...policy, clock, maxKeys: 100 })
  return {
    setTime: (ms) => clock.set(ms),
    close: () => limiter.close(),
    call(op, key, args, tier) {
      const view = tier === undefined ? limiter : limiter.tier(tier)
      const [first = 1, second] = args
      switch (op) {
        case 'consume':
          return view.consume(key, first)
        case 'allow':
          return view.allow(key, first)
        case 'peek':
          return view.peek(key)
        case 'refund':
          return view.refund(key, first, second)
        case 'penalize':
          return view.penalize(key, first)
        case 'block':
          return view.block(key, first)
        case 'reset':
          return view.reset(key)
      }
    },
  }
})
