/**
 * Pruning and defaulting, as the API server does them before it validates.
 * Source: apiextensions-apiserver pkg/apiserver/schema/{pruning,defaulting}; no field of Postern's is nullable.
 * The input is left as it is; the result shares nothing with it.
 */
import { isRecord } from './finding.ts'
import type { Schema } from './schema.ts'

/** A copy of `value` without unknown fields and nulls that mean nothing, and with the defaults of `schema`. */
export function applyDefaults(value: unknown, schema: Schema | undefined): unknown {
  if (Array.isArray(value)) {
    return value.map((item) =>
      applyDefaults(item === null ? copyDefault(schema?.items) : item, schema?.items),
    )
  }
  return isRecord(value) ? defaultRecord(value, schema) : value
}

function defaultRecord(
  value: Readonly<Record<string, unknown>>,
  schema: Schema | undefined,
): unknown {
  const entries: [string, unknown][] = []
  for (const [key, child] of Object.entries(value)) {
    const childSchema = schemaOf(key, schema)
    if (childSchema === undefined && isClosed(schema)) continue
    const present = child === null && childSchema ? copyDefault(childSchema) : child
    // A null of a known field without default is as good as absent.
    if (present === null && childSchema) continue
    entries.push([key, applyDefaults(present, childSchema)])
  }
  for (const [key, child] of Object.entries(schema?.properties ?? {})) {
    if (child.default === undefined || Object.hasOwn(value, key)) continue
    entries.push([key, applyDefaults(copyDefault(child), child)])
  }
  // fromEntries defines properties: a key named __proto__ stays data.
  return Object.fromEntries(entries)
}

/** A copy of `value` with the defaults that it lacks; what the schema does not name stays. */
export function addDefaults(value: unknown, schema: Schema | undefined): unknown {
  if (Array.isArray(value)) return value.map((item) => addDefaults(item, schema?.items))
  if (!isRecord(value)) return value
  const there = Object.entries(value).map(([key, child]) => [
    key,
    addDefaults(child, schemaOf(key, schema)),
  ])
  const missing = Object.entries(schema?.properties ?? {}).flatMap(([key, child]) =>
    child.default === undefined || Object.hasOwn(value, key)
      ? []
      : [[key, addDefaults(copyDefault(child), child)]],
  )
  return Object.fromEntries([...there, ...missing])
}

/** Whether fields that the schema does not name are dropped. */
function isClosed(schema: Schema | undefined): boolean {
  return schema !== undefined && !schema['x-kubernetes-preserve-unknown-fields']
}

function schemaOf(key: string, schema: Schema | undefined): Schema | undefined {
  const { properties, additionalProperties } = schema ?? {}
  if (properties && Object.hasOwn(properties, key)) return properties[key]
  return additionalProperties
}

function copyDefault(schema: Schema | undefined): unknown {
  return schema?.default === undefined ? null : structuredClone(schema.default)
}
