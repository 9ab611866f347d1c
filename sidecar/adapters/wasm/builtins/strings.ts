/**
 * String builtins that OPA's WASM leaves to the host: prefixes, suffixes, counting, indexes, sprintf; and trace.
 * Positions count characters (code points), as OPA does. Source: OPA topdown/strings.go.
 */
import { RegoSet } from '../rego-value.ts'
import { arrayOperand, type Builtin, BuiltinError, stringOperand } from './builtin.ts'
import { sprintf } from './sprintf.ts'

export const stringBuiltins: Readonly<Record<string, Builtin>> = {
  sprintf: (_c, format, values) => sprintf(stringOperand(format), arrayOperand(values)),
  'strings.any_prefix_match': (_c, search, base) =>
    textsOf(search).some((s) => textsOf(base).some((b) => s.startsWith(b))),
  'strings.any_suffix_match': (_c, search, base) =>
    textsOf(search).some((s) => textsOf(base).some((b) => s.endsWith(b))),
  'strings.count': (_c, search, substring) =>
    count(stringOperand(search), stringOperand(substring)),
  indexof_n: (_c, haystack, needle) => indexes(stringOperand(haystack), stringOperand(needle)),
  trace: () => true,
}

/** A string, or an array or set of strings. */
function textsOf(value: unknown): readonly string[] {
  if (typeof value === 'string') return [value]
  if (Array.isArray(value)) return value.map(stringOperand)
  if (value instanceof RegoSet) return value.items.map(stringOperand)
  throw new BuiltinError('operand must be a string or a collection of strings')
}

/** Without overlaps; the empty text is between all characters, as in Go. */
function count(text: string, part: string): number {
  return part === '' ? [...text].length + 1 : text.split(part).length - 1
}

function indexes(text: string, part: string): number[] {
  if (part === '') throw new BuiltinError('empty search character')
  const found: number[] = []
  let position = 0
  let counted = 0
  for (let at = text.indexOf(part); at >= 0; at = text.indexOf(part, at + 1)) {
    position += [...text.slice(counted, at)].length
    counted = at
    found.push(position)
  }
  return found
}
