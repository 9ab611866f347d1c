/**
 * One attestation, from choosing the proof to storing its result. In: what is stored, the join token file's text.
 * Out: a new SVID with a new key, its credential already on the disk. A stored credential is used first; a join token
 * only when there is none or it was refused, and never one that was spent.
 * A disk that takes nothing must not end a workload: a renewal counts in memory then, and the credential of the disk is
 * used again next time, for to the controller the newer one was lost on the way.
 */
import {
  csrBinding,
  formatJoinToken,
  type JoinToken,
  parseJoinToken,
  reattestationPayload,
} from '../../common/attestation.ts'
import type { Clock } from '../../common/clock.ts'
import { MeshError } from '../../common/errors.ts'
import type { Secret } from '../../common/secret.ts'
import { type CheckedAnswer, checkAnswer } from '../core/identity/answer.ts'
import { buildCsr } from '../core/identity/csr.ts'
import {
  formatIdentity,
  type JoinedIdentity,
  parseIdentity,
  type StoredIdentity,
} from '../core/identity/stored-identity.ts'
import type { Svid } from '../ports.ts'
import type {
  ControllerClient,
  IdentityState,
  Keys,
  SidecarKey,
  WorkloadAttester,
} from './identity-ports.ts'

export interface AttestParts {
  readonly state: IdentityState
  readonly client: ControllerClient
  readonly keys: Keys
  /** The join token file's text; undefined: no file. */
  readonly readJoinToken: () => Promise<Secret<string> | undefined>
  readonly clock: Clock
  /** Random for each process, 16 to 64 letters and digits; the same as in ProxyReport. */
  readonly instanceId: string
}

export class Attester implements WorkloadAttester {
  readonly #parts: AttestParts
  /** As on the disk, but for roots that are not there yet. */
  #stored: StoredIdentity | undefined
  #unstored: { readonly identity: StoredIdentity; readonly problem: MeshError } | undefined

  constructor(parts: AttestParts) {
    this.#parts = parts
  }

  /** A new SVID. Throws MeshError; what was stored before stays good. */
  async attest(current: Svid | undefined, signal: AbortSignal): Promise<Svid> {
    const stored = await this.#load()
    const { joined } = stored
    if (joined !== undefined) {
      try {
        return await this.#renew(joined, current, signal)
      } catch (error) {
        if (!isCredentialRefused(error)) throw error
        const token = await this.#newToken(joined)
        if (token === undefined) throw error
        return this.#join(stored, token, signal)
      }
    }
    const token = await this.#newToken(undefined)
    if (token === undefined) {
      const message =
        'there is no join token: make one by `postern token create` and name its file by --join-token-file'
      throw new MeshError('ERR_TOKEN_INVALID', message)
    }
    return this.#join(stored, token, signal)
  }

  /** The join token file's text, empty when there is none or it can't be read: the attempt itself will say so. */
  async proofText(): Promise<string> {
    const text = await this.#parts.readJoinToken().catch(() => undefined)
    return text?.reveal() ?? ''
  }

  /** Roots that the controller distributes from now on, DER. Kept for the next start. */
  async updateTrustBundle(trustBundle: readonly Uint8Array[]): Promise<void> {
    const stored = await this.#load()
    if (stored.joined === undefined) return
    const next = { ...stored, joined: { ...stored.joined, trustBundle } }
    // Known from now on, stored or not: the next renewal may meet a controller of the new root.
    this.#stored = next
    const newest = this.#unstored?.identity.joined
    await this.#storeOrKeep(newest ? { joined: { ...newest, trustBundle } } : next)
  }

  /** Why what is known is not on the disk; undefined: it is. */
  storeProblem(): MeshError | undefined {
    return this.#unstored?.problem
  }

  /** Tries once more to store what could not be stored. */
  async storeAgain(): Promise<void> {
    if (this.#unstored !== undefined) await this.#storeOrKeep(this.#unstored.identity)
  }

  async #renew(joined: JoinedIdentity, current: Svid | undefined, signal: AbortSignal) {
    const { keys, client } = this.#parts
    const credentialKey = keys.fromPem(joined.credentialKey)
    const key = await keys.generate()
    const csr = csrFor(key)
    const proof = {
      kind: 'credential',
      certificate: joined.credential,
      proveBy: (nonce: Uint8Array) => credentialKey.sign(reattestationPayload(nonce, csr)),
    } as const
    const trust = { trustDomain: joined.trustDomain, roots: joined.trustBundle }
    const call = { csr, instanceId: this.#parts.instanceId, proof }
    const svid = current?.workload.uid === joined.workload.uid ? current : undefined
    const answer = await client.attest(trust, call, { svid, signal })
    const checked = checkAnswer(answer, {
      publicKey: key.publicKey,
      credentialKey: credentialKey.publicKey,
      trustDomain: joined.trustDomain,
      workloadUid: joined.workload.uid,
      nowMs: this.#parts.clock.now(),
    })
    return this.#accept(checked, key, joined, (next) => this.#keepRenewed(joined, next))
  }

  async #join(stored: StoredIdentity, token: JoinToken, signal: AbortSignal): Promise<Svid> {
    const { keys, client } = this.#parts
    const trust = await client.fetchTrust(token.rootFingerprint, signal)
    const credentialKey = await this.#credentialKeyFor(stored, token)
    const key = await keys.generate()
    const csr = csrFor(key)
    const credentialCsr = csrFor(credentialKey, csrBinding(csr))
    const proof = { kind: 'token', token: formatJoinToken(token), credentialCsr } as const
    const call = { csr, instanceId: this.#parts.instanceId, proof }
    const answer = await client.attest(trust, call, { svid: undefined, signal })
    const checked = checkAnswer(answer, {
      publicKey: key.publicKey,
      credentialKey: credentialKey.publicKey,
      trustDomain: trust.trustDomain,
      workloadUid: undefined,
      nowMs: this.#parts.clock.now(),
    })
    const { trustDomain } = trust
    const pem = credentialKey.toPem()
    const kept = { trustDomain, credentialKey: pem, tokenId: token.id }
    return this.#accept(checked, key, kept, (next) => this.#store(next))
  }

  /** Stored before the token is sent, so that a lost answer can be asked for again. */
  async #credentialKeyFor(stored: StoredIdentity, token: JoinToken): Promise<SidecarKey> {
    const { keys } = this.#parts
    const { pending } = stored
    if (pending?.tokenId === token.id) return keys.fromPem(pending.credentialKey)
    const key = await keys.generate()
    await this.#store({ ...stored, pending: { tokenId: token.id, credentialKey: key.toPem() } })
    return key
  }

  async #accept(
    answer: CheckedAnswer,
    key: SidecarKey,
    kept: Pick<JoinedIdentity, 'trustDomain' | 'credentialKey' | 'tokenId'>,
    keep: (identity: { readonly joined: JoinedIdentity }) => Promise<void>,
  ): Promise<Svid> {
    const { workload, spiffeId, trustBundle, credential } = answer
    const { trustDomain, credentialKey, tokenId } = kept
    const joined = {
      workload,
      spiffeId,
      trustDomain,
      trustBundle,
      credential,
      credentialKey,
      tokenId,
    }
    await keep({ joined })
    return {
      spiffeId,
      workload,
      certificateChain: answer.certificateChain,
      privateKey: key.privateKey,
      trustBundle,
      serialNumber: answer.serialNumber,
      notBeforeMs: answer.notBeforeMs,
      notAfterMs: answer.notAfterMs,
    }
  }

  /** The file's token, unless it is the one that the stored credential came from. */
  async #newToken(joined: JoinedIdentity | undefined): Promise<JoinToken | undefined> {
    const text = await this.#parts.readJoinToken()
    if (text === undefined || text.reveal() === '') return undefined
    const token = parseJoinToken(text.reveal())
    if (token === undefined) {
      const message =
        'the join token file has no join token in it; create one with postern token create'
      throw new MeshError('ERR_TOKEN_INVALID', message)
    }
    return token.id === joined?.tokenId ? undefined : token
  }

  async #load(): Promise<StoredIdentity> {
    if (this.#stored !== undefined) return this.#stored
    const text = await this.#parts.state.load()
    this.#stored = text === undefined ? {} : await this.#parse(text)
    return this.#stored
  }

  /** A damaged text is set aside and counts as none when there is a token to begin anew with. Throws ERR_STATE_CORRUPT. */
  async #parse(text: Secret<string>): Promise<StoredIdentity> {
    try {
      return parseIdentity(text)
    } catch (damage) {
      if ((await this.#newToken(undefined)) === undefined) throw damage
      await this.#parts.state.setAside()
      return {}
    }
  }

  async #store(identity: StoredIdentity): Promise<void> {
    await this.#parts.state.store(formatIdentity(identity))
    this.#stored = identity
    this.#unstored = undefined
  }

  async #keepRenewed(before: JoinedIdentity, next: { readonly joined: JoinedIdentity }) {
    await this.#storeOrKeep(next)
    if (this.#unstored === undefined) return
    this.#stored = { joined: { ...before, trustBundle: next.joined.trustBundle } }
  }

  /** A disk that takes nothing is a state; anything else is thrown. */
  async #storeOrKeep(identity: StoredIdentity): Promise<void> {
    try {
      await this.#store(identity)
    } catch (problem) {
      if (!(problem instanceof MeshError) || problem.code !== 'ERR_STATE_WRITE') throw problem
      this.#unstored = { identity, problem }
    }
  }
}

function csrFor(key: SidecarKey, challengePassword?: string): Uint8Array {
  const sign = (bytes: Uint8Array) => key.sign(bytes)
  const { publicKey } = key
  return buildCsr({ publicKey, sign, ...(challengePassword && { challengePassword }) })
}

function isCredentialRefused(error: unknown): boolean {
  if (!(error instanceof MeshError)) return false
  return error.code === 'ERR_CREDENTIAL_REVOKED' || error.code === 'ERR_CREDENTIAL_INVALID'
}
