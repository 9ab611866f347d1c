/**
 * Base documents of several libraries as one. In: JSON values. Out: their deep merge, or the place where two differ.
 * Objects merge by key; anything else must be equal. Never lets one library's value win silently, nor a rule's.
 */
import { canonicalJson } from '../../../common/bundle.ts'

export type MergedData =
  | { readonly ok: true; readonly data: unknown }
  /** `index` of the document that contradicts an earlier one, at `path` (dots). */
  | { readonly ok: false; readonly index: number; readonly path: string }

export function mergeData(documents: readonly unknown[]): MergedData {
  let data: unknown = {}
  for (const [index, document] of documents.entries()) {
    const merged = merge(data, document, [])
    if ('conflict' in merged) return { ok: false, index, path: merged.conflict.join('.') }
    data = merged.value
  }
  return { ok: true, data }
}

type Merged = { readonly value: unknown } | { readonly conflict: readonly string[] }

function merge(a: unknown, b: unknown, path: readonly string[]): Merged {
  if (!isObject(a) || !isObject(b)) {
    return canonicalJson(a) === canonicalJson(b) ? { value: a } : { conflict: path }
  }
  // A Map and fromEntries: a key named __proto__ stays a key.
  const entries = new Map(Object.entries(a))
  for (const [key, value] of Object.entries(b)) {
    if (!entries.has(key)) {
      entries.set(key, value)
      continue
    }
    const merged = merge(entries.get(key), value, [...path, key])
    if ('conflict' in merged) return merged
    entries.set(key, merged.value)
  }
  return { value: Object.fromEntries(entries) }
}

/**
 * The first path (dots) at which a rule and a value are both: the rule would hide the value, or the value the rule.
 * `rules` are slash paths.
 */
export function findHidden(data: unknown, rules: readonly string[]): string | undefined {
  const isHidden = (rule: string) => {
    let at: unknown = data
    for (const step of rule.split('/')) {
      if (!isObject(at)) return true
      if (!Object.hasOwn(at, step)) return false
      at = at[step]
    }
    return true
  }
  return rules.find(isHidden)?.replaceAll('/', '.')
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
