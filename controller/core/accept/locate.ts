/**
 * Where a field of an object stands in the user's file, also a line inside a text that is written as a block (`|`).
 * In: the file's text, the document and the field. Out: line and column, as near as can be told.
 */
import type { SourceLocation } from '../../../common/errors.ts'
import { readDocuments, type YamlDocument } from '../crd/yaml-document.ts'
import type { ModulePlace } from '../rego/attribute.ts'

export type Locate = (field: string, inText?: ModulePlace) => SourceLocation

const BLOCK_HEADER = /:\s*\|[+-]?\d?[+-]?\s*(?:#.*)?$/

/** `start` is where the object's document begins. The text is read again only when a place is asked for. */
export function locateIn(text: string, start: SourceLocation): Locate {
  // Weakly: a syntax tree is many times its text, and an object lives long.
  let parsed: WeakRef<readonly YamlDocument[]> | undefined
  return (field, inText) => {
    const documents = parsed?.deref() ?? readDocuments(text)
    parsed = new WeakRef(documents)
    const document = documents.find((d) => d.index === start.document)
    if (document?.ok !== true || field === '') return start
    const at = document.locate(splitField(field))
    const inner = inText === undefined ? undefined : insideBlock(text, at.line, inText)
    return { ...start, ...(inner ?? at) }
  }
}

/** A literal block keeps its lines, so a line of the module is a line of the file. */
function insideBlock(
  text: string,
  keyLine: number,
  place: ModulePlace,
): { line: number; column: number } | undefined {
  const lines = text.split('\n')
  if (!BLOCK_HEADER.test(lines[keyLine - 1]?.trimEnd() ?? '')) return undefined
  const first = lines.slice(keyLine).find((l) => l.trim() !== '')
  const indent = /^ */.exec(first ?? '')?.[0].length ?? 0
  return { line: keyLine + place.line, column: indent + place.column }
}

/** `spec.rules[0].from` → `spec`, `rules`, 0, `from`. A number may be an index or a key; both find their place. */
export function splitField(field: string): (string | number)[] {
  return [...field.matchAll(/\[([^\]]*)\]|([^.[\]]+)/g)].map(([, inBrackets, name]) => {
    if (inBrackets === undefined) return name ?? ''
    return /^\d+$/.test(inBrackets) ? Number(inBrackets) : inBrackets
  })
}
