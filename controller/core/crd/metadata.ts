/**
 * `metadata`, checked as the API server checks it: known fields and their types, names, labels, annotations.
 * Source: apimachinery pkg/api/validation (objectmeta.go), pkg/util/validation; meta/v1 ObjectMeta.
 */
import { Buffer } from 'node:buffer'
import type { FieldPath } from './field-path.ts'
import { type Finding, isRecord, typeName } from './finding.ts'
import { unknownField } from './unknown-fields.ts'

type FieldType = 'string' | 'time' | 'integer' | 'list' | 'map'

const FIELDS: Readonly<Record<string, FieldType>> = {
  name: 'string',
  generateName: 'string',
  namespace: 'string',
  labels: 'map',
  annotations: 'map',
  selfLink: 'string',
  uid: 'string',
  resourceVersion: 'string',
  generation: 'integer',
  creationTimestamp: 'time',
  deletionTimestamp: 'time',
  deletionGracePeriodSeconds: 'integer',
  ownerReferences: 'list',
  finalizers: 'list',
  managedFields: 'list',
}
const LABEL = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/
const SUBDOMAIN = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/
const QUALIFIED_NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$/
/** RFC 3339. */
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/
const MAX_LABEL = 63
const MAX_SUBDOMAIN = 253
const MAX_ANNOTATIONS_BYTES = 256 * 1024

export function checkMetadata(value: unknown, namespaced: boolean): Finding[] {
  const at: FieldPath = ['metadata']
  if (value === undefined || value === null) return [nameRequired()]
  if (!isRecord(value)) return [wrongType(at, 'an object', value)]
  const fields = Object.entries(value).flatMap(([key, child]) => checkField(key, child))
  return [
    ...fields,
    ...checkName(value.name),
    ...(namespaced ? checkNamespace(value.namespace) : []),
    ...checkLabels(value.labels),
    ...checkAnnotations(value.annotations),
  ]
}

function nameRequired(): Finding {
  return {
    code: 'ERR_OBJECT_NAME',
    path: ['metadata', 'name'],
    message: 'is required',
    remedy: 'give the object a name',
  }
}

function checkField(key: string, value: unknown): Finding[] {
  const type = Object.hasOwn(FIELDS, key) ? FIELDS[key] : undefined
  const path = ['metadata', key]
  if (type === undefined) return [unknownField(path, key, Object.keys(FIELDS))]
  if (value === null) return []
  switch (type) {
    case 'string':
      return typeof value === 'string' ? [] : [wrongType(path, 'a string', value)]
    case 'time':
      return checkTime(value, path)
    case 'integer':
      return Number.isInteger(value) ? [] : [wrongType(path, 'an integer', value)]
    case 'list':
      return Array.isArray(value) ? [] : [wrongType(path, 'a list', value)]
    case 'map':
      return isRecord(value) ? checkTexts(value, path) : [wrongType(path, 'an object', value)]
  }
}

function checkTime(value: unknown, path: FieldPath): Finding[] {
  if (typeof value !== 'string') return [wrongType(path, 'a string', value)]
  if (TIME.test(value) && !Number.isNaN(Date.parse(value))) return []
  const message = `${JSON.stringify(value)} is no time`
  const remedy = 'remove it: the controller sets it'
  return [{ code: 'ERR_FIELD_VALUE', path, message, remedy }]
}

function checkTexts(map: Readonly<Record<string, unknown>>, path: FieldPath): Finding[] {
  return Object.entries(map)
    .filter(([, text]) => typeof text !== 'string' && text !== null)
    .map(([key, text]) => wrongType([...path, key], 'a string', text))
}

function wrongType(path: FieldPath, wanted: string, value: unknown): Finding {
  const scalar = typeof value === 'number' || typeof value === 'boolean'
  return {
    code: 'ERR_FIELD_TYPE',
    path,
    message: `must be ${wanted}, not ${typeName(value)}`,
    remedy: scalar && wanted === 'a string' ? 'put the value in quotes' : `give ${wanted}`,
  }
}

function checkName(name: unknown): Finding[] {
  if (name === undefined || name === null || name === '') return [nameRequired()]
  if (typeof name !== 'string' || isSubdomain(name)) return []
  return [
    {
      code: 'ERR_OBJECT_NAME',
      path: ['metadata', 'name'],
      message: `${JSON.stringify(name)} is no DNS-1123 subdomain: at most 253 lower-case letters, digits, "-" and ".", with a letter or digit at both ends`,
      remedy: 'write a name such as "orders"',
    },
  ]
}

function checkNamespace(namespace: unknown): Finding[] {
  if (typeof namespace !== 'string' || namespace === '') return []
  if (namespace.length <= MAX_LABEL && LABEL.test(namespace)) return []
  return [
    {
      code: 'ERR_OBJECT_NAME',
      path: ['metadata', 'namespace'],
      message: `${JSON.stringify(namespace)} is no DNS-1123 label: at most 63 lower-case letters, digits and "-", with a letter or digit at both ends`,
      remedy: 'write the name of a namespace',
    },
  ]
}

function isSubdomain(text: string): boolean {
  return text.length <= MAX_SUBDOMAIN && SUBDOMAIN.test(text)
}

/** `[prefix/]name`, as the keys of labels and annotations are. */
function isQualifiedName(key: string): boolean {
  const parts = key.split('/')
  const name = parts.at(-1) ?? ''
  const [prefix] = parts
  if (parts.length > 2 || (parts.length === 2 && !isSubdomain(prefix ?? ''))) return false
  return name.length <= MAX_LABEL && QUALIFIED_NAME.test(name)
}

/** Whether `text` may be the value of a label. */
function isLabelValue(text: string): boolean {
  return text === '' || (text.length <= MAX_LABEL && QUALIFIED_NAME.test(text))
}

function checkLabels(labels: unknown): Finding[] {
  return textsOf(labels).flatMap(([key, text]) => {
    const path = ['metadata', 'labels', key]
    const wrongKey = isQualifiedName(key) ? [] : [wrongMetadata(path, 'is no label key')]
    return isLabelValue(text)
      ? wrongKey
      : [...wrongKey, wrongMetadata(path, `${JSON.stringify(text)} is no label value`)]
  })
}

function checkAnnotations(annotations: unknown): Finding[] {
  const texts = textsOf(annotations)
  const bytes = texts.reduce((sum, [key, text]) => sum + Buffer.byteLength(key + text), 0)
  const keys = texts
    .filter(([key]) => !isQualifiedName(key.toLowerCase()))
    .map(([key]) => wrongMetadata(['metadata', 'annotations', key], 'is no annotation key'))
  return bytes <= MAX_ANNOTATIONS_BYTES
    ? keys
    : [...keys, wrongMetadata(['metadata', 'annotations'], 'must have at most 262144 bytes in all')]
}

function wrongMetadata(path: FieldPath, message: string): Finding {
  return {
    code: 'ERR_FIELD_VALUE',
    path,
    message,
    remedy:
      'use letters, digits, "-", "_" and ".", at most 63, with a letter or digit at both ends; keys may have a DNS prefix and "/"',
  }
}

function textsOf(map: unknown): [string, string][] {
  if (!isRecord(map)) return []
  return Object.entries(map).filter(
    (entry): entry is [string, string] => typeof entry[1] === 'string',
  )
}
