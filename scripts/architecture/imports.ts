/**
 * What a file imports: static, dynamic and re-exporting imports, types included.
 * In: path and source. Out: package names as written, and relative imports resolved to paths from the root.
 */
import { posix } from 'node:path'
import { lex, type SourceText } from './lexer.ts'

export interface Import {
  /** As written: `node:fs`, `./x.ts`. */
  readonly specifier: string
  /** Path from the root for a relative import; undefined for packages. */
  readonly path: string | undefined
  /** `import type` or `export type`: erased before the program runs. */
  readonly typeOnly: boolean
  /** What stands between `import` and `from`: `{ a, type B }`; empty for side effects and dynamic imports. */
  readonly clause: string
  readonly line: number
}

const STATIC = /\b(import|export)\b(?!\s*\()(?<clause>[^'";=]*?\bfrom\s*|\s*)(?=['"])/g
const DYNAMIC = /\bimport\s*\(\s*(?=['"])/g

export function importsOf(path: string, source: string, text: SourceText = lex(source)): Import[] {
  const found: Import[] = []
  const add = (end: number, clause: string) => {
    const specifier = text.strings.get(end)
    if (specifier === undefined) return
    const line = source.slice(0, end).split('\n').length
    const typeOnly = /^\s*type\b(?!\s*(?:,|from\b))/.test(clause)
    found.push({ specifier, path: resolve(path, specifier), typeOnly, clause, line })
  }
  for (const match of text.code.matchAll(STATIC)) {
    const clause = match.groups?.clause ?? ''
    if (match[1] === 'export' && !/\bfrom\s*$/.test(clause)) continue
    add(match.index + match[0].length, clause)
  }
  for (const match of text.code.matchAll(DYNAMIC)) add(match.index + match[0].length, '')
  return found.sort((a, b) => a.line - b.line)
}

function resolve(from: string, specifier: string): string | undefined {
  if (!specifier.startsWith('.')) return undefined
  return posix.join(posix.dirname(from), specifier)
}

/** Package of a specifier: `@a/b` of `@a/b/c`, `node:fs` of `node:fs/promises`, `x` of `x/y`. */
export function packageOf(specifier: string): string {
  const parts = specifier.split('/')
  return specifier.startsWith('@') ? parts.slice(0, 2).join('/') : (parts[0] ?? specifier)
}
