/**
 * Cutting what stands at the ends of a text that a client sent. By hand: a regular expression for the end, `[ \t]+$`,
 * is tried at every blank of the text and takes quadratic time, seconds for one header.
 */

/** Without blanks and tabs at both ends. */
export function trimBlanks(text: string): string {
  return trimChars(text, ' \t')
}

/** Without any of `chars` at both ends; as Go's strings.Trim. */
export function trimChars(text: string, chars: string): string {
  let start = 0
  let end = text.length
  while (start < end && chars.includes(text.charAt(start))) start++
  while (end > start && chars.includes(text.charAt(end - 1))) end--
  return text.slice(start, end)
}
