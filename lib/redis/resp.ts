/** `$<length>\r\n` of short texts. */
const HEADS = Array.from({ length: 512 }, (_, length) => `$${length}\r\n`)

const ASCII = /^[\0-\x7f]*$/

/** A text as Redis reads it: UTF-8 with its length in front. */
export function bulk(text: string): string {
  const length = ASCII.test(text) ? text.length : Buffer.byteLength(text)
  return `${HEADS[length] ?? `$${length}\r\n`}${text}\r\n`
}

export function command(name: string, args: readonly string[]): string {
  let text = `*${args.length + 1}\r\n${bulk(name)}`
  for (const arg of args) text += bulk(arg)
  return text
}
