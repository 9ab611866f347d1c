/** The difference between two JSON values as a patch: objects by their fields, lists as a whole. Source: RFC 6902, RFC 6901. */
import { isRecord } from '../crd/finding.ts'

export type JsonPatch = readonly {
  readonly op: 'add' | 'remove' | 'replace'
  readonly path: string
  readonly value?: unknown
}[]

/** Empty: they are equal. Both are JSON; undefined counts as absent. */
export function toJsonPatch(before: unknown, after: unknown, path = ''): JsonPatch {
  if (isEqual(before, after)) return []
  if (!isRecord(before) || !isRecord(after)) return [{ op: 'replace', path, value: after }]
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])]
  return keys.flatMap((key): JsonPatch => {
    const at = `${path}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`
    const [old, fresh] = [before[key], after[key]]
    if (fresh === undefined) return old === undefined ? [] : [{ op: 'remove', path: at }]
    return old === undefined ? [{ op: 'add', path: at, value: fresh }] : toJsonPatch(old, fresh, at)
  })
}

function isEqual(a: unknown, b: unknown): boolean {
  if (Array.isArray(a) && Array.isArray(b))
    return a.length === b.length && a.every((item, i) => isEqual(item, b[i]))
  if (!isRecord(a) || !isRecord(b)) return a === b
  const keys = new Set([...Object.keys(a), ...Object.keys(b)])
  return [...keys].every((key) => isEqual(a[key], b[key]))
}
