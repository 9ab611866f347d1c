/**
 * Text as a terminal may have it. What is printed comes from manifests, file names and proxies' own words: an escape
 * sequence in it could hide a line, or write one that nobody said. Control, format and bidirectional characters come
 * out as JSON's escapes, so that JSON and YAML in quotes keep their meaning.
 */

import { escapeUnprintable } from '../../common/printable.ts'

/** Many lines: line ends and tabs stay. */
export function toPrintable(text: string): string {
  return escapeUnprintable(text.toWellFormed())
}

/** One line: a cell, or a sentence. */
export function toPrintableLine(text: string): string {
  return toPrintable(text).replaceAll('\n', '\\n').replaceAll('\t', '\\t')
}
