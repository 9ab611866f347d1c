/**
 * Tables of a reference page, for tests that hold a page against the code.
 * In: the page's path from the root. Out: by heading, the rows below it, heads and rules of the tables left out.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

export interface Section {
  /** The heading, without `#`. */
  readonly title: string
  /** Cells as they are written, trimmed; `\|` is a pipe. */
  readonly rows: readonly (readonly string[])[]
}

export function readTables(page: string): readonly Section[] {
  const text = readFileSync(join(import.meta.dirname, '../..', page), 'utf8')
  const parts = text.split(/^#+ +/m).slice(1)
  return parts.map((part) => {
    const [title = '', ...lines] = part.split('\n')
    return { title, rows: lines.flatMap((line, i) => rowOf(line, lines[i + 1])) }
  })
}

const RULE = /^\|(?: *:?-+:? *\|)+$/

function rowOf(line: string, next: string | undefined): readonly string[][] {
  if (!line.startsWith('|') || RULE.test(line) || RULE.test(next ?? '')) return []
  const cells = line.split(/(?<!\\)\|/).slice(1, -1)
  return [cells.map((cell) => cell.trim().replaceAll('\\|', '|'))]
}
