/**
 * Text without control, format and bidirectional characters: what a terminal would obey, and a person not see. In: text.
 * Out: the same with JSON's escapes for them, so that a JSON text keeps its meaning.
 */

const UNPRINTABLE = /[^\P{C}\n\t]|[\u2028\u2029]/gu
/** Most text is: a test that costs little. */
const PLAIN = /^[\x20-\x7e]*$/

/** Line ends and tabs stay. */
export function escapeUnprintable(text: string): string {
  return PLAIN.test(text) ? text : text.replaceAll(UNPRINTABLE, toEscape)
}

/** As UTF-16 code units: `\u001b`. */
function toEscape(character: string): string {
  return Array.from({ length: character.length }, (_, i) => {
    const unit = character.charCodeAt(i).toString(16).padStart(4, '0')
    return `\\u${unit}`
  }).join('')
}
