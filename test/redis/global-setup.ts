import { findRedis, missingRedis, provideRedis } from '../../scripts/find-redis.mjs'

/** Once before all Redis tests: without a server they fail at once, and say what to do. */
export default function setUp(): void {
  provideRedis()
  if (findRedis()) return
  // Where it was thrown would only hide what it says.
  if (!process.env['REDIS_URL']) throw Object.assign(new Error(missingRedis()), { stack: '' })
  console.warn(`${missingRedis()}. With REDIS_URL alone, those that need more than one server fail.`)
}
