/**
 * Text to YAML documents, read as kubectl reads them (YAML 1.1 booleans and octals, merge keys), each with a way to
 * find where a field stands. Refuses duplicate keys, unknown tags, floods of aliases and bottomless nesting.
 */
import {
  type Document,
  isMap,
  isNode,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseAllDocuments,
  type Tags,
} from 'yaml'
import type { FieldPath } from './field-path.ts'

export interface Position {
  readonly line: number
  readonly column: number
}

export type YamlDocument = {
  /** Index in the file, from 1. */
  readonly index: number
  readonly start: Position
} & (
  | {
      readonly ok: true
      readonly value: unknown
      /** Where the field stands: its key, or what exists of the path to it. */
      locate(path: FieldPath): Position
    }
  | { readonly ok: false; readonly message: string; readonly at: Position }
)

/** Far above what any of our kinds needs, far below what the stack bears. */
const MAX_DEPTH = 100
const MAX_ALIASES = 100

/** Kinds of scalars and collections that Kubernetes' YAML does not have. */
const FOREIGN_TAGS = new Set([
  'tag:yaml.org,2002:binary',
  'tag:yaml.org,2002:omap',
  'tag:yaml.org,2002:pairs',
  'tag:yaml.org,2002:set',
  'tag:yaml.org,2002:timestamp',
])

/** Documents without content are left out; they keep their index. Never throws. */
export function readDocuments(text: string): YamlDocument[] {
  const lines = new LineCounter()
  const toPosition = (offset: number): Position => {
    const { line, col } = lines.linePos(offset)
    return { line: Math.max(1, line), column: Math.max(1, col) }
  }
  let documents: readonly Document.Parsed[]
  try {
    documents = [
      ...parseAllDocuments(text, {
        version: '1.1',
        customTags: kubernetesTags,
        lineCounter: lines,
        prettyErrors: false,
      }),
    ] as Document.Parsed[]
  } catch {
    // The parser recurses; only hostile nesting gets here.
    const at = { line: 1, column: 1 }
    return [{ index: 1, start: at, ok: false, message: 'is nested too deeply', at }]
  }
  return documents.flatMap((document, i) => readDocument(document, i + 1, toPosition))
}

function kubernetesTags(tags: Tags): Tags {
  return tags.filter((tag) => {
    if (typeof tag === 'string') return true
    return !FOREIGN_TAGS.has(tag.tag) && !('format' in tag && tag.format === 'TIME')
  })
}

function readDocument(
  document: Document.Parsed,
  index: number,
  toPosition: (offset: number) => Position,
): YamlDocument[] {
  const start = toPosition(firstOffset(document))
  const mistake = document.errors[0] ?? document.warnings[0]
  if (mistake !== undefined) {
    const message = mistake.message.split('\n')[0] ?? mistake.message
    return [
      { index, start, ok: false, message: lowerFirst(message), at: toPosition(mistake.pos[0]) },
    ]
  }
  if (document.contents === null || isEmptyScalar(document.contents)) return []
  try {
    const value: unknown = document.toJS({ maxAliasCount: MAX_ALIASES })
    if (depthOf(value) > MAX_DEPTH)
      return [{ index, start, ok: false, message: 'is nested too deeply', at: start }]
    const locate = (path: FieldPath) => toPosition(offsetOf(document, path))
    return [{ index, start, ok: true, value, locate }]
  } catch (error) {
    const message =
      error instanceof ReferenceError ? lowerFirst(error.message) : 'is nested too deeply'
    return [{ index, start, ok: false, message, at: start }]
  }
}

function isEmptyScalar(node: Node): boolean {
  return isScalar(node) && (node.value === null || node.value === undefined)
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1).replace(/\.$/, '')
}

function firstOffset(document: Document.Parsed): number {
  return document.contents?.range?.[0] ?? document.range?.[0] ?? 0
}

/** Depth of lists and objects; stops one above the limit, so that it cannot overflow itself. */
function depthOf(value: unknown, depth = 0): number {
  if (typeof value !== 'object' || value === null || depth > MAX_DEPTH) return depth
  let deepest = depth + 1
  for (const child of Object.values(value)) deepest = Math.max(deepest, depthOf(child, depth + 1))
  return deepest
}

function offsetOf(document: Document.Parsed, path: FieldPath): number {
  let node: unknown = document.contents
  let offset = firstOffset(document)
  for (const part of path) {
    const step = descend(document, node, part)
    if (step === undefined) break
    offset = step.offset
    node = step.node
  }
  return offset
}

function descend(
  document: Document.Parsed,
  parent: unknown,
  part: string | number,
): { node: unknown; offset: number } | undefined {
  const node = resolve(document, parent)
  if (isSeq(node) && typeof part === 'number') {
    const item = node.items[part]
    return isNode(item) && item.range ? { node: item, offset: item.range[0] } : undefined
  }
  if (!isMap(node)) return undefined
  const pair = node.items.find((p) => isScalar(p.key) && String(p.key.value) === String(part))
  if (!isPair(pair) || !isScalar(pair.key) || !pair.key.range) return undefined
  return { node: pair.value, offset: pair.key.range[0] }
}

function resolve(document: Document.Parsed, node: unknown): unknown {
  return isNode(node) && 'resolve' in node && typeof node.resolve === 'function'
    ? node.resolve(document)
    : node
}
