/** A call did not reach Redis, or was not answered in time. */
export class TransportError extends Error {
  override readonly name = 'TransportError'

  constructor(
    /** `unsent`: it was not sent. `connection`, which was lost, or `timeout`: it may have been done all the same. */
    readonly kind: 'unsent' | 'connection' | 'timeout',
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options)
  }
}

/** Whether an operation that failed so was certainly not done: it was refused here, or by Redis, or never sent. */
export function isSurelyNotDone(error: unknown): boolean {
  if (error instanceof TransportError) return error.kind === 'unsent'
  if (!(error instanceof Error) || error.name === 'ReplyError') return true
  if (error.name === 'UnexpectedReplyError') return false
  // Of what was sent, the cause says how it went.
  return error.cause === undefined || isSurelyNotDone(error.cause)
}
