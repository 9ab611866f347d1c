/**
 * What the values in the rules of an AuthorizationPolicy mean, checked with messages that a pattern cannot give.
 * The schema accepts the same texts; these findings stand in for its own at the same field.
 */
import type { ProblemCode } from '../../../common/errors.ts'
import type { FieldPath } from './field-path.ts'
import { type Finding, isRecord } from './finding.ts'
import {
  type Parsed,
  parseHeaderValue,
  parseHost,
  parseIpBlock,
  parseIpBlockShape,
  parseMethod,
  parseNamespace,
  parsePath,
  parsePort,
  parsePrincipal,
  parseWhenKey,
} from './values.ts'

type ValueParser = (text: string) => Parsed<unknown>

interface ListCheck {
  readonly parse: ValueParser
  readonly code: ProblemCode
}

const PRINCIPALS: ListCheck = { parse: parsePrincipal, code: 'ERR_SPIFFE_ID' }
const NAMESPACES: ListCheck = { parse: parseNamespace, code: 'ERR_FIELD_VALUE' }
const IP_BLOCKS: ListCheck = { parse: parseIpBlock, code: 'ERR_CIDR' }
const IP_SHAPES: ListCheck = { parse: parseIpBlockShape, code: 'ERR_CIDR' }
const HOSTS: ListCheck = { parse: parseHost, code: 'ERR_FIELD_VALUE' }
const PORTS: ListCheck = { parse: parsePort, code: 'ERR_FIELD_VALUE' }
const METHODS: ListCheck = { parse: parseMethod, code: 'ERR_FIELD_VALUE' }
const PATHS: ListCheck = { parse: parsePath, code: 'ERR_FIELD_VALUE' }
const HEADERS: ListCheck = { parse: parseHeaderValue, code: 'ERR_FIELD_VALUE' }

const SOURCE: Readonly<Record<string, ListCheck>> = {
  principals: PRINCIPALS,
  notPrincipals: PRINCIPALS,
  namespaces: NAMESPACES,
  notNamespaces: NAMESPACES,
  ipBlocks: IP_BLOCKS,
  notIpBlocks: IP_BLOCKS,
}
const OPERATION: Readonly<Record<string, ListCheck>> = {
  hosts: HOSTS,
  notHosts: HOSTS,
  ports: PORTS,
  notPorts: PORTS,
  methods: METHODS,
  notMethods: METHODS,
  paths: PATHS,
  notPaths: PATHS,
}
const WHEN_VALUES = {
  header: HEADERS,
  'source.principal': PRINCIPALS,
  'source.namespace': NAMESPACES,
  'source.ip': IP_SHAPES,
  'destination.port': PORTS,
}

/** `object` need not be valid: what has the wrong type is left to the schema. */
export function findWrongValues(object: unknown): Finding[] {
  return itemsOf(fieldOf(object, 'spec'), 'rules', ['spec']).flatMap(([rule, path]) => [
    ...itemsOf(rule, 'from', path).flatMap(([from, p]) => checkTerm(from, 'source', SOURCE, p)),
    ...itemsOf(rule, 'to', path).flatMap(([to, p]) => checkTerm(to, 'operation', OPERATION, p)),
    ...itemsOf(rule, 'when', path).flatMap(([when, p]) => checkWhen(when, p)),
  ])
}

function checkTerm(
  term: unknown,
  name: string,
  checks: Readonly<Record<string, ListCheck>>,
  path: FieldPath,
): Finding[] {
  const fields = fieldOf(term, name)
  return Object.entries(checks).flatMap(([field, check]) =>
    checkList(fields, field, check, [...path, name]),
  )
}

function checkWhen(when: unknown, path: FieldPath): Finding[] {
  const key = fieldOf(when, 'key')
  if (typeof key !== 'string') return []
  const parsed = parseWhenKey(key)
  if (!parsed.ok) return [toFinding(parsed, 'ERR_FIELD_VALUE', key, [...path, 'key'])]
  const check = WHEN_VALUES[parsed.value.kind]
  return [...checkList(when, 'values', check, path), ...checkList(when, 'notValues', check, path)]
}

function checkList(parent: unknown, field: string, check: ListCheck, path: FieldPath): Finding[] {
  return itemsOf(parent, field, path).flatMap(([value, at]) => {
    // Empty text and texts of the wrong type are the schema's business.
    const text = typeof value === 'number' && check === PORTS ? String(value) : value
    if (typeof text !== 'string' || text === '') return []
    const parsed = check.parse(text)
    return parsed.ok ? [] : [toFinding(parsed, check.code, text, at)]
  })
}

function toFinding(
  parsed: { readonly message: string; readonly remedy: string },
  code: ProblemCode,
  text: string,
  path: FieldPath,
): Finding {
  const shown = text.length > 80 ? `${text.slice(0, 80)}…` : text
  return {
    code,
    path,
    message: `${JSON.stringify(shown)} ${parsed.message}`,
    remedy: parsed.remedy,
  }
}

function fieldOf(value: unknown, name: string): unknown {
  return isRecord(value) && Object.hasOwn(value, name) ? value[name] : undefined
}

function itemsOf(parent: unknown, name: string, path: FieldPath): [unknown, FieldPath][] {
  const list = fieldOf(parent, name)
  return Array.isArray(list) ? list.map((item, i) => [item, [...path, name, i]]) : []
}
