/**
 * What the CA remembers of join tokens and re-attestation credentials, as a value: records in, next records out. Pure.
 * A token's secret is never here, only its hash; a credential is known by its key's hash and its serial numbers.
 *
 *   token:       created ──redeem──▶ used by a key ──(same key, nothing confirmed: same use, again)──┐
 *                                        ▲─────────────────────────────────────────────────────────┘
 *   credential:  current ──use──▶ current + next ──use of next──▶ next is current, and a new next
 *                   any older serial of the same key ──▶ revoked until a new join token
 *
 * Source: DESIGN §3, CONTRACT §wire 3.
 */
import { timingSafeEqual } from 'node:crypto'
import { sha256 } from '../../../common/attestation.ts'
import type { MeshErrorCode } from '../../../common/errors.ts'

/** Ended tokens are remembered for a day, so that whoever uses one is told what is wrong with it. */
const KEEP_ENDED_MS = 24 * 3_600_000
/** Credentials end after 90 days (template.ts); their records may go then. */
const KEEP_CREDENTIAL_MS = 91 * 24 * 3_600_000

export interface TokenRecord {
  /** Hex SHA-256 of the secret. */
  readonly secretHash: string
  /** `namespace/name`. */
  readonly workload: string
  readonly workloadUid: string
  readonly expiresMs: number
  /** Hex SHA-256 of the credential key that it was spent on. */
  readonly usedByKey?: string
}

export interface CredentialRecord {
  /** `namespace/name`. */
  readonly workload: string
  /** Hex SHA-256 of the credential's SubjectPublicKeyInfo. */
  readonly keyHash: string
  /** Hex serial that the sidecar is known to have had; absent until a first use. */
  readonly current?: string
  /** Hex serial that was answered last, and isn't confirmed by a use. */
  readonly next?: string
  readonly revoked?: { readonly reason: string; readonly atMs: number }
  readonly touchedMs: number
}

export interface Registry {
  readonly tokens: ReadonlyMap<string, TokenRecord>
  /** By workload UID. */
  readonly credentials: ReadonlyMap<string, CredentialRecord>
}

export const EMPTY_REGISTRY: Registry = { tokens: new Map(), credentials: new Map() }

export interface Refusal {
  readonly ok: false
  readonly code: MeshErrorCode
  readonly message: string
}

export function addToken(
  registry: Registry,
  id: string,
  token: TokenRecord,
  nowMs: number,
): Registry {
  const tokens = new Map(
    [...registry.tokens].filter(([, r]) => r.expiresMs + KEEP_ENDED_MS > nowMs),
  )
  const credentials = new Map(
    [...registry.credentials].filter(([, r]) => r.touchedMs + KEEP_CREDENTIAL_MS > nowMs),
  )
  return { tokens: tokens.set(id, token), credentials }
}

/**
 * Whether a token may be spent on this credential key. The secret is compared in constant time, and before anything
 * about the token is told. A second presentation by the same key, with nothing confirmed, is the same use: its first
 * answer was lost.
 */
export function checkToken(
  registry: Registry,
  presented: { readonly id: string; readonly secret: Uint8Array },
  keyHash: string,
  nowMs: number,
): Refusal | { readonly ok: true; readonly token: TokenRecord } {
  const token = registry.tokens.get(presented.id)
  if (!holdsSecret(registry, presented.id, presented.secret) || token === undefined)
    return { ok: false, code: 'ERR_TOKEN_INVALID', message: 'join token is not known' }
  if (token.expiresMs <= nowMs)
    return { ok: false, code: 'ERR_TOKEN_EXPIRED', message: 'join token has expired' }
  if (token.usedByKey !== undefined && !isSameUse(registry, token, keyHash))
    return { ok: false, code: 'ERR_TOKEN_USED', message: 'join token was already used' }
  const known = registry.credentials.get(token.workloadUid)
  if (token.usedByKey === undefined && known?.keyHash === keyHash)
    return { ok: false, code: 'ERR_CSR_INVALID', message: 'a new join token takes a new key' }
  return { ok: true, token }
}

/** Whether this is the secret of a token that is remembered. Compared in constant time. */
export function holdsSecret(registry: Registry, id: string, secret: Uint8Array): boolean {
  const token = registry.tokens.get(id)
  const expected = Buffer.from(token?.secretHash ?? '0'.repeat(64), 'hex')
  return timingSafeEqual(expected, sha256(secret)) && token !== undefined
}

function isSameUse(registry: Registry, token: TokenRecord, keyHash: string): boolean {
  const credential = registry.credentials.get(token.workloadUid)
  return (
    token.usedByKey === keyHash &&
    credential?.keyHash === keyHash &&
    credential.current === undefined &&
    credential.revoked === undefined
  )
}

/** The token is spent and its workload's chain begins anew; an older chain is superseded, a revocation lifted. */
export function spendToken(
  registry: Registry,
  id: string,
  use: { readonly keyHash: string; readonly serialNumber: string; readonly nowMs: number },
): Registry {
  const token = registry.tokens.get(id)
  if (token === undefined) return registry
  const { keyHash, serialNumber, nowMs } = use
  const record = { workload: token.workload, keyHash, next: serialNumber, touchedMs: nowMs }
  return {
    tokens: new Map(registry.tokens).set(id, { ...token, usedByKey: keyHash }),
    credentials: new Map(registry.credentials).set(token.workloadUid, record),
  }
}

export type CredentialUse =
  | { readonly kind: 'good' }
  | { readonly kind: 'unknown' | 'superseded' | 'revoked' | 'replayed' }

/** What a proven use of a credential means. `replayed`: an older one of the same key, so somebody has a copy. */
export function judgeUse(
  registry: Registry,
  uid: string,
  presented: { readonly keyHash: string; readonly serialNumber: string },
): CredentialUse {
  const record = registry.credentials.get(uid)
  if (record === undefined) return { kind: 'unknown' }
  if (record.keyHash !== presented.keyHash) return { kind: 'superseded' }
  if (record.revoked !== undefined) return { kind: 'revoked' }
  const { serialNumber } = presented
  const isGood = serialNumber === record.current || serialNumber === record.next
  return { kind: isGood ? 'good' : 'replayed' }
}

/** After a good use: what was presented is current, `nextSerial` is on its way, and every other serial is old. */
export function recordUse(
  registry: Registry,
  uid: string,
  use: { readonly presented: string; readonly nextSerial: string; readonly nowMs: number },
): Registry {
  return withCredential(registry, uid, (record) => ({
    ...record,
    current: use.presented,
    next: use.nextSerial,
    touchedMs: use.nowMs,
  }))
}

export function revoke(registry: Registry, uid: string, reason: string, atMs: number): Registry {
  return withCredential(registry, uid, (record) => ({
    ...record,
    revoked: record.revoked ?? { reason, atMs },
    touchedMs: atMs,
  }))
}

function withCredential(
  registry: Registry,
  uid: string,
  change: (record: CredentialRecord) => CredentialRecord,
): Registry {
  const record = registry.credentials.get(uid)
  if (record === undefined) return registry
  return {
    tokens: registry.tokens,
    credentials: new Map(registry.credentials).set(uid, change(record)),
  }
}
