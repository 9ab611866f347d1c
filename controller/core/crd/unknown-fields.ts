/**
 * Fields that the schema does not have. The API server prunes them; with strict field validation (kubectl's default)
 * it refuses them, since a field with a typo would silently not count.
 * Source: apiextensions-apiserver pkg/apiserver/schema/pruning.
 */
import type { FieldPath } from './field-path.ts'
import { type Finding, isRecord } from './finding.ts'
import type { Schema } from './schema.ts'
import { nearest } from './suggest.ts'

export function findUnknownFields(value: unknown, schema: Schema, path: FieldPath): Finding[] {
  if (Array.isArray(value)) {
    const { items } = schema
    return items === undefined
      ? []
      : value.flatMap((item, i) => findUnknownFields(item, items, [...path, i]))
  }
  if (!isRecord(value)) return []
  return Object.entries(value).flatMap(([key, child]) => checkField(key, child, schema, path))
}

function checkField(key: string, child: unknown, schema: Schema, path: FieldPath): Finding[] {
  const here = [...path, key]
  const { properties = {}, additionalProperties } = schema
  const childSchema = Object.hasOwn(properties, key) ? properties[key] : additionalProperties
  if (childSchema !== undefined) return findUnknownFields(child, childSchema, here)
  if (schema['x-kubernetes-preserve-unknown-fields']) return []
  return [unknownField(here, key, Object.keys(properties))]
}

export function unknownField(path: FieldPath, key: string, known: readonly string[]): Finding {
  const hint = nearest(key, known)
  const names =
    known.length === 0 ? 'there are no fields here' : `the fields here are ${known.join(', ')}`
  return {
    code: 'ERR_FIELD_UNKNOWN',
    path,
    message: `unknown field ${JSON.stringify(key)}`,
    remedy:
      hint === undefined ? `remove it; ${names}` : `write ${JSON.stringify(hint)}, or remove it`,
  }
}
