/**
 * Text as a terminal may have it. What is printed comes from manifests, file names and proxies' own words: an escape
 * sequence in it could hide a line, or write one that nobody said. Control, format and bidirectional characters come
 * out as JSON's escapes, so that JSON and YAML in quotes keep their meaning.
 */

const UNPRINTABLE = /[^\P{C}\n\t]|[\u2028\u2029]/gu

/** Many lines: line ends and tabs stay. */
export function toPrintable(text: string): string {
  return text.toWellFormed().replaceAll(UNPRINTABLE, toEscape)
}

/** One line: a cell, or a sentence. */
export function toPrintableLine(text: string): string {
  return toPrintable(text).replaceAll('\n', '\\n').replaceAll('\t', '\\t')
}

/** As UTF-16 code units: `\u001b`. */
function toEscape(character: string): string {
  return Array.from({ length: character.length }, (_, i) => {
    const unit = character.charCodeAt(i).toString(16).padStart(4, '0')
    return `\\u${unit}`
  }).join('')
}
