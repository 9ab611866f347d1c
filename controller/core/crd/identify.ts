/**
 * Which kind and which object a document is, before anything else is known of it.
 */
import type { ObjectRef } from '../../../common/errors.ts'
import { type Finding, isRecord, typeName } from './finding.ts'
import type { Kind } from './generated/objects.ts'
import { KINDS } from './generated/schemas.ts'
import { nearest } from './suggest.ts'

export type Identity =
  | { readonly ok: true; readonly kind: Kind; readonly value: Readonly<Record<string, unknown>> }
  | { readonly ok: false; readonly findings: readonly Finding[] }

const API_VERSION = 'postern.dev/v1alpha1'

/** The kind of a document of postern.dev/v1alpha1, or why it is none. */
export function identify(value: unknown): Identity {
  if (!isRecord(value)) {
    const message = `a document must be an object, not ${typeName(value)}`
    const remedy = 'write apiVersion, kind, metadata and spec, or remove the document'
    return { ok: false, findings: [{ code: 'ERR_FIELD_TYPE', path: [], message, remedy }] }
  }
  const findings = ['apiVersion', 'kind'].flatMap((key) => checkText(value, key))
  if (findings.length > 0) return { ok: false, findings }
  const { apiVersion, kind } = value as { apiVersion: string; kind: string }
  const known = KINDS.find((k) => k.kind === kind)?.kind
  if (apiVersion === API_VERSION && known !== undefined) return { ok: true, kind: known, value }
  return { ok: false, findings: [unknownKind(apiVersion, kind, known !== undefined)] }
}

function checkText(value: Readonly<Record<string, unknown>>, key: string): Finding[] {
  const text = value[key]
  const at = [key]
  if (text === undefined || text === null || text === '') {
    const remedy = `add ${JSON.stringify(key)}`
    return [{ code: 'ERR_FIELD_REQUIRED', path: at, message: 'is required', remedy }]
  }
  if (typeof text === 'string') return []
  const message = `must be a string, not ${typeName(text)}`
  return [{ code: 'ERR_FIELD_TYPE', path: at, message, remedy: 'put the value in quotes' }]
}

function unknownKind(apiVersion: string, kind: string, isOurs: boolean): Finding {
  const names = KINDS.map((k) => k.kind)
  const what = `${JSON.stringify(kind)} of ${JSON.stringify(apiVersion)} is no kind of Postern`
  if (isOurs) {
    const remedy = `write "apiVersion: ${API_VERSION}"`
    return { code: 'ERR_OBJECT_UNKNOWN_KIND', path: ['apiVersion'], message: what, remedy }
  }
  const hint = apiVersion === API_VERSION ? nearest(kind, names) : undefined
  const remedy =
    hint === undefined
      ? `remove it from this folder; the kinds of ${API_VERSION} are ${names.join(', ')}`
      : `write "kind: ${hint}"`
  return { code: 'ERR_OBJECT_UNKNOWN_KIND', path: ['kind'], message: what, remedy }
}

/** The name of the object that a document is about, as far as it can be told. */
export function refOf(value: unknown): ObjectRef | undefined {
  if (!isRecord(value) || !isRecord(value.metadata)) return undefined
  const { kind } = value
  const { name, namespace } = value.metadata
  if (typeof kind !== 'string' || typeof name !== 'string' || kind === '' || name === '') {
    return undefined
  }
  if (KINDS.some((k) => k.kind === kind && !k.namespaced)) return { kind, name }
  return {
    kind,
    namespace: typeof namespace === 'string' && namespace ? namespace : 'default',
    name,
  }
}
