/**
 * Uniqueness in lists of type `map` (by their keys) and `set` (by their elements).
 * Source: apiextensions-apiserver pkg/apiserver/schema/listtype.
 */
import type { FieldPath } from './field-path.ts'
import { type Finding, isRecord } from './finding.ts'
import type { Schema } from './schema.ts'

/** One finding for each element that repeats an earlier one. `value` has its defaults already. */
export function findRepeatedItems(value: unknown, schema: Schema, path: FieldPath): Finding[] {
  if (Array.isArray(value)) {
    const { items } = schema
    if (items === undefined) return []
    return [
      ...repeatedIn(value, schema, path),
      ...value.flatMap((item, i) => findRepeatedItems(item, items, [...path, i])),
    ]
  }
  if (!isRecord(value)) return []
  return Object.entries(value).flatMap(([key, child]) => {
    const { properties = {}, additionalProperties } = schema
    const childSchema = Object.hasOwn(properties, key) ? properties[key] : additionalProperties
    return childSchema === undefined ? [] : findRepeatedItems(child, childSchema, [...path, key])
  })
}

function repeatedIn(list: readonly unknown[], schema: Schema, path: FieldPath): Finding[] {
  const type = schema['x-kubernetes-list-type']
  if (type !== 'map' && type !== 'set') return []
  const keys = schema['x-kubernetes-list-map-keys'] ?? []
  const first = new Map<string, number>()
  return list.flatMap((item, i): Finding[] => {
    const identity = type === 'map' && isRecord(item) ? keys.map((k) => item[k]) : item
    const text = JSON.stringify(identity)
    const earlier = first.get(text)
    if (earlier === undefined) {
      first.set(text, i)
      return []
    }
    const what = type === 'map' ? `the same ${keys.join(', ')} as` : 'the same as'
    return [
      {
        code: 'ERR_FIELD_VALUE',
        path: [...path, i],
        message: `duplicate: ${what} element ${earlier}`,
        remedy: 'remove one of them or give it another name',
      },
    ]
  })
}
