// Where this Node's own C headers are, so that nothing has to be downloaded to build against them.

import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'

/**
 * The folder whose `include/node` holds the headers: next to the running Node if they were installed with it,
 * else what the npm setting `nodedir` says, else undefined (the build tool then fetches them).
 * @returns {string | undefined}
 */
export function nodeHeadersDir() {
  const beside = join(dirname(process.execPath), '..')
  if (existsSync(join(beside, 'include', 'node', 'node_api.h'))) return beside
  return process.env['npm_config_nodedir'] || undefined
}
