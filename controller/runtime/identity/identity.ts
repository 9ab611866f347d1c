/**
 * The controller's identity part as one: opens CA and records, makes join tokens, attests, keeps the own certificate.
 * main gives it the adapters and the model; the TLS port serves `own`, the CSR service calls `attestation`, the admin
 * socket calls `createJoinToken`.
 */
import type { Clock } from '../../../common/clock.ts'
import { MeshError } from '../../../common/errors.ts'
import { Secret } from '../../../common/secret.ts'
import { createChallengeNonces } from '../../core/ca/challenge.ts'
import { type Attestation, createAttestation } from './attestation.ts'
import { type Authority, openAuthority } from './authority.ts'
import type { Revocation } from './claim.ts'
import { createKeyedLock } from './keyed-lock.ts'
import { createLiveAuthority, type KeyTrouble } from './live-authority.ts'
import { type OwnSvidSource, startOwnSvid } from './own-svid.ts'
import type {
  IdentityStore,
  IsLive,
  Keys,
  Log,
  PodWitness,
  RandomBytes,
  WorkloadDirectory,
} from './ports.ts'
import { openRecords } from './records.ts'
import { createReviewGate } from './review-gate.ts'
import { createJoinToken, type IssuedJoinToken, type JoinTokenRequest } from './tokens.ts'

export interface ControllerIdentityOptions {
  readonly trustDomain: string
  readonly store: IdentityStore
  readonly keys: Keys
  readonly directory: WorkloadDirectory
  readonly isLive: IsLive
  /** Absent: there are no pods. */
  readonly pods?: PodWitness
  readonly clock: Clock
  readonly randomBytes: RandomBytes
  readonly log: Log
  readonly onRevoked: (event: Revocation) => void
  /** The roots, or what is wrong with the stored keys, are others now. */
  readonly onKeysChanged?: () => void
}

export interface ControllerIdentity {
  readonly authority: Authority
  readonly attestation: Attestation
  readonly own: OwnSvidSource
  createJoinToken(request: JoinTokenRequest): Promise<IssuedJoinToken>
  /** Credentials that are revoked now, for status after a restart. */
  revocations(): readonly Revocation[]
  /** Why the stored keys are not those in force. */
  trouble(): KeyTrouble | undefined
  /** Takes over what is stored, if it is good. Rejects when the store doesn't answer. */
  look(): Promise<void>
  stop(): void
}

/** Of an authority that was created. Throws ERR_STATE_CORRUPT, ERR_CA_NOT_READY. One process per state folder. */
export async function openControllerIdentity(
  options: ControllerIdentityOptions,
): Promise<ControllerIdentity> {
  const { store, randomBytes } = options
  const first = await openAuthority(options)
  checkGivenOut(first, store)
  const records = await openRecords(store)
  const live = createLiveAuthority({
    first,
    open: options,
    records,
    log: options.log,
    onChange: (what) => {
      if (what === 'keys') own.renewNow()
      options.onKeysChanged?.()
    },
  })
  const { authority } = live
  const nonces = createChallengeNonces(new Secret(randomBytes(32)))
  const parts = {
    ...options,
    authority,
    records,
    nonces,
    locked: createKeyedLock(),
    reviews: createReviewGate(),
  }
  const random = () => Buffer.from(randomBytes(4)).readUInt32BE(0) / 2 ** 32
  const own = await startOwnSvid({ ...parts, random })
  return {
    authority,
    attestation: createAttestation(parts),
    own,
    createJoinToken: (request) => createJoinToken(parts, request),
    revocations: () =>
      [...records.get().credentials].flatMap(([workloadUid, { workload, revoked }]) =>
        revoked === undefined ? [] : [{ workload, workloadUid, reason: revoked.reason }],
      ),
    trouble: live.trouble,
    look: () => live.look(),
    stop: () => own.stop(),
  }
}

/** Keys that were exchanged while no controller ran: no pod trusts their root. Throws ERR_STATE_CORRUPT. */
function checkGivenOut(authority: Authority, store: IdentityStore): void {
  const known = store.shared?.givenOut()
  if (known === undefined) return
  const isIn = (list: readonly Uint8Array[], der: Uint8Array | undefined) =>
    der !== undefined && list.some((one) => Buffer.from(one).equals(der))
  // Whose certificates are in use, by the one that signs and the one that signed last.
  if (isIn(known, authority.trustBundle[0]) && isIn(authority.trustBundle, known[0])) return
  const message = `the roots in ${store.place} are not those that were given out; ${store.remedy}`
  throw new MeshError('ERR_STATE_CORRUPT', message)
}
