import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { IndexedHeap, NOWHERE } from '../../lib/waiting/indexed-heap'
import { seeded } from '../property/seed'

interface Item {
  rank: number
  readonly order: number
  place: number
}

function isBefore(a: Item, b: Item): boolean {
  return a.rank !== b.rank ? a.rank < b.rank : a.order < b.order
}

describe('IndexedHeap', () => {
  test('is a sorted list: items put in, moved and taken out of the middle', () => {
    const step = fc.record({
      op: fc.constantFrom('put', 'put', 'put', 'move', 'remove', 'pop'),
      which: fc.nat(1000),
      rank: fc.integer({ min: -8, max: 8 }),
    })
    const property = fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const heap = new IndexedHeap<'place', Item>('place', isBefore)
      let model: Item[] = []
      for (const [order, { op, which, rank }] of steps.entries()) {
        const chosen = model[which % Math.max(model.length, 1)]
        if (op === 'put') {
          const item = { rank, order, place: NOWHERE }
          heap.put(item)
          model.push(item)
        } else if (op === 'move' && chosen !== undefined) {
          chosen.rank = rank
          heap.put(chosen)
        } else if (chosen !== undefined) {
          const gone = op === 'pop' ? (heap.first as Item) : chosen
          heap.remove(gone)
          expect(heap.has(gone)).toBe(false)
          model = model.filter((item) => item !== gone)
        }
        model.sort((a, b) => a.rank - b.rank || a.order - b.order)
        expect(heap.first).toBe(model[0])
        expect(new Set(heap.items)).toEqual(new Set(model))
        expect(heap.size).toBe(model.length)
      }
      const drained: (Item | undefined)[] = []
      for (const _ of model) {
        drained.push(heap.first)
        heap.remove(heap.first as Item)
      }
      expect(drained).toEqual(model)
    })
    fc.assert(property, seeded(1000))
  })

  test('taking out what is not in it changes nothing', () => {
    const heap = new IndexedHeap<'place', Item>('place', isBefore)
    const [inside, outside] = [0, 1].map((order) => ({ rank: 0, order, place: NOWHERE })) as [Item, Item]
    heap.put(inside)
    heap.remove(outside)
    expect(heap.items).toEqual([inside])
  })
})
