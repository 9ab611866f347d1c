/** docs/performance.md, of which each bench writes its own part. In: a part. Out: the page; the rest is left alone. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const PAGE = join(import.meta.dirname, '../docs/performance.md')

/** Puts the text between the marks of `part`; makes page and marks when they aren't there. */
export function writePart(part: 'fleet' | 'rules', text: string): void {
  const [beginMark, endMark] = [`<!-- ${part}:begin -->`, `<!-- ${part}:end -->`]
  const page = existsSync(PAGE) ? readFileSync(PAGE, 'utf8') : '# Performance\n'
  const [begin, end] = [page.indexOf(beginMark), page.indexOf(endMark)]
  const marked = `${beginMark}\n${text}\n${endMark}`
  const isThere = begin !== -1 && end > begin
  const next = isThere
    ? `${page.slice(0, begin)}${marked}${page.slice(end + endMark.length)}`
    : `${page.trimEnd()}\n\n${marked}\n`
  writeFileSync(PAGE, next)
}
