/**
 * Challenge nonces that cost no memory until they are used by somebody who proved a credential: a nonce carries its
 * own end and a MAC, so a flood of Challenge calls fills nothing. 32 bytes: 8 time, 8 random, 16 HMAC-SHA256.
 * The key is the process's own, so a restart ends all nonces; callers then ask for a new one.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import type { Secret } from '../../../common/secret.ts'

export const NONCE_LIFETIME_MS = 60_000
/** Used nonces of the last minute; 10,000 is 166 attestations a second, more than one process signs for long. */
const MAX_USED = 10_000

export interface ChallengeNonces {
  create(random: Uint8Array, nowMs: number): Uint8Array
  /** Whether the nonce is ours and young. Does not use it up. */
  isFresh(nonce: Uint8Array, nowMs: number): boolean
  /** Uses it up; false when it was used before, or when too many were used to remember one more. */
  use(nonce: Uint8Array, nowMs: number): boolean
}

/** `key`: 32 random bytes. `nowMs` is monotonic. */
export function createChallengeNonces(key: Secret<Uint8Array>): ChallengeNonces {
  const usedUntil = new Map<string, number>()
  const mac = (head: Uint8Array) =>
    createHmac('sha256', key.reveal()).update(head).digest().subarray(0, 16)
  const endOf = (nonce: Uint8Array) => Number(Buffer.from(nonce).readBigUInt64BE(0))
  return {
    create(random, nowMs) {
      const head = Buffer.alloc(16)
      head.writeBigUInt64BE(BigInt(Math.floor(nowMs) + NONCE_LIFETIME_MS), 0)
      head.set(random.subarray(0, 8), 8)
      return Buffer.concat([head, mac(head)])
    },
    isFresh(nonce, nowMs) {
      if (nonce.length !== 32) return false
      if (!timingSafeEqual(mac(nonce.subarray(0, 16)), nonce.subarray(16))) return false
      return endOf(nonce) > nowMs
    },
    use(nonce, nowMs) {
      for (const [used, until] of usedUntil) {
        // Insertion order is nearly the order of ends; whatever stays a little longer does no harm.
        if (until > nowMs) break
        usedUntil.delete(used)
      }
      const id = Buffer.from(nonce).toString('base64')
      if (usedUntil.has(id) || usedUntil.size >= MAX_USED) return false
      usedUntil.set(id, endOf(nonce))
      return true
    },
  }
}
