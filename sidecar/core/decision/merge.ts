/**
 * Mutations of several ALLOW policies → one, in the order given. Two that want different things of one header, query
 * parameter or metadata key are a conflict, which refuses the request (DESIGN §4); two that want the same agree.
 */

import { isDeepStrictEqual } from 'node:util'
import type { JsonObject } from '@bufbuild/protobuf'
import { type Mutation, type NameValue, PolicyResultError } from './policy-result.ts'

export const NO_MUTATION: Mutation = {
  headers: [],
  headersToRemove: [],
  responseHeaders: [],
  queryToSet: [],
  queryToRemove: [],
  dynamicMetadata: {},
}

/** Errors: PolicyResultError on a conflict. */
export function mergeMutations(mutations: readonly Mutation[]): Mutation {
  return mutations.reduce(mergeTwo, NO_MUTATION)
}

function mergeTwo(a: Mutation, b: Mutation): Mutation {
  const merged = {
    headers: mergePairs(a.headers, b.headers),
    headersToRemove: [...new Set([...a.headersToRemove, ...b.headersToRemove])],
    responseHeaders: mergePairs(a.responseHeaders, b.responseHeaders),
    queryToSet: mergePairs(a.queryToSet, b.queryToSet),
    queryToRemove: [...new Set([...a.queryToRemove, ...b.queryToRemove])],
    dynamicMetadata: mergeMetadata(a.dynamicMetadata, b.dynamicMetadata),
  }
  if (a !== NO_MUTATION) {
    refuseSetAndRemoved(a.headers, b.headersToRemove)
    refuseSetAndRemoved(b.headers, a.headersToRemove)
    refuseSetAndRemoved(a.queryToSet, b.queryToRemove)
    refuseSetAndRemoved(b.queryToSet, a.queryToRemove)
  }
  return merged
}

function mergePairs(a: readonly NameValue[], b: readonly NameValue[]): readonly NameValue[] {
  const known = valuesByName(a)
  const added: NameValue[] = []
  for (const [name, values] of valuesByName(b)) {
    const before = known.get(name)
    if (before === undefined) added.push(...b.filter(([n]) => n.toLowerCase() === name))
    else if (!isDeepStrictEqual(before, values)) throw conflict(name)
  }
  return [...a, ...added]
}

function valuesByName(pairs: readonly NameValue[]): Map<string, string[]> {
  const values = new Map<string, string[]>()
  for (const [name, value] of pairs) {
    const key = name.toLowerCase()
    values.set(key, [...(values.get(key) ?? []), value])
  }
  return values
}

function mergeMetadata(a: JsonObject, b: JsonObject): JsonObject {
  for (const key of Object.keys(b))
    if (Object.hasOwn(a, key) && !isDeepStrictEqual(a[key], b[key])) throw conflict(key)
  return { ...a, ...b }
}

function refuseSetAndRemoved(set: readonly NameValue[], removed: readonly string[]): void {
  const names = new Set(removed.map((n) => n.toLowerCase()))
  for (const [name] of set) if (names.has(name.toLowerCase())) throw conflict(name)
}

function conflict(name: string): PolicyResultError {
  return new PolicyResultError(`two policies want different things of ${JSON.stringify(name)}`)
}
