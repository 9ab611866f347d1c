/**
 * The registry as text and back. A text that is not exactly a registry throws ERR_STATE_CORRUPT: guessing here could
 * make a spent token good again.
 */
import { MeshError } from '../../../common/errors.ts'
import type { CredentialRecord, Registry, TokenRecord } from './registry.ts'

const VERSION = 1

export function formatRegistry(registry: Registry): string {
  const document = {
    version: VERSION,
    tokens: Object.fromEntries(registry.tokens),
    credentials: Object.fromEntries(registry.credentials),
  }
  return `${JSON.stringify(document, undefined, 1)}\n`
}

export function parseRegistry(text: string): Registry {
  let document: unknown
  try {
    document = JSON.parse(text)
  } catch {
    throw corrupt('it is not JSON')
  }
  const { version, tokens, credentials } = asRecord(document)
  if (version !== VERSION) throw corrupt(`its version is not ${VERSION}`)
  return {
    tokens: readMap(tokens, readToken),
    credentials: readMap(credentials, readCredential),
  }
}

function readMap<T>(value: unknown, read: (fields: Record<string, unknown>) => T): Map<string, T> {
  return new Map(Object.entries(asRecord(value)).map(([key, item]) => [key, read(asRecord(item))]))
}

function readToken(fields: Record<string, unknown>): TokenRecord {
  const usedByKey = optional(fields.usedByKey, hash)
  return {
    secretHash: hash(fields.secretHash),
    workload: text(fields.workload),
    workloadUid: text(fields.workloadUid),
    expiresMs: number(fields.expiresMs),
    ...(usedByKey === undefined ? {} : { usedByKey }),
  }
}

function readCredential(fields: Record<string, unknown>): CredentialRecord {
  const current = optional(fields.current, text)
  const next = optional(fields.next, text)
  const revoked = optional(fields.revoked, (value) => {
    const { reason, atMs } = asRecord(value)
    return { reason: text(reason), atMs: number(atMs) }
  })
  return {
    workload: text(fields.workload),
    keyHash: hash(fields.keyHash),
    ...(current === undefined ? {} : { current }),
    ...(next === undefined ? {} : { next }),
    ...(revoked === undefined ? {} : { revoked }),
    touchedMs: number(fields.touchedMs),
  }
}

function optional<T>(value: unknown, read: (value: unknown) => T): T | undefined {
  return value === undefined ? undefined : read(value)
}

function asRecord(value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw corrupt('an object is missing in it')
  return value as Record<string, unknown>
}

function text(value: unknown): string {
  if (typeof value !== 'string' || value === '') throw corrupt('a text is missing in it')
  return value
}

function hash(value: unknown): string {
  if (typeof value !== 'string' || !/^[0-9a-f]{64}$/.test(value))
    throw corrupt('a hash is missing in it')
  return value
}

function number(value: unknown): number {
  if (typeof value !== 'number' || !Number.isFinite(value)) throw corrupt('a number is missing')
  return value
}

function corrupt(why: string): MeshError {
  const remedy = 'restore it from a backup, or begin anew: every workload must then join again'
  return new MeshError('ERR_STATE_CORRUPT', `identities.json is damaged: ${why}; ${remedy}`)
}
