// A child's end of the line to the main process. It answers requests until the line is cut, then the child ends.

/** @typedef {{ call: string, argument: unknown }} Request */
/** @typedef {{ result: unknown } | { error: string } | { progress: number }} Message */

/** @param {Message} message */
function send(message) {
  // After the main process has gone there is nobody to tell.
  if (process.connected) process.send?.(message)
}

/** Tells the main process how many requests were sent so far in this phase. @param {number} sent */
export function reportProgress(sent) {
  send({ progress: sent })
}

/**
 * @template {Record<string, (argument: never) => unknown>} Handlers
 * @param {Handlers} handlers what the main process may call, by name
 */
export function answerParent(handlers) {
  process.on('SIGINT', () => {}) // the main process was interrupted too and cuts the line
  process.on('disconnect', () => process.exit(0))
  process.on('message', async (/** @type {Request} */ { call, argument }) => {
    try {
      const handler = handlers[call]
      if (!handler) throw new Error(`no such call: ${call}`)
      send({ result: await handler(/** @type {never} */ (argument)) })
    } catch (error) {
      send({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
    }
  })
}
