/**
 * One attestation of a pod: its service-account token, read anew, and at a renewal its SVID beside it, buy a new SVID.
 * In: token and roots as the kubelet keeps them in files. Out: an SVID for exactly this pod, with a new key.
 * The token goes to nobody but the controller's own identity under those roots; there is no trust on first use.
 * What was had is kept where the pod has a memory volume, so that a restarted container goes on without a controller.
 */
import type { Clock } from '../../common/clock.ts'
import { MeshError } from '../../common/errors.ts'
import { fromPem } from '../../common/pem.ts'
import type { Secret } from '../../common/secret.ts'
import { type Asked, type AttestAnswer, checkAnswer } from '../core/identity/answer.ts'
import { commonTrustDomain } from '../core/identity/controller-trust.ts'
import { buildCsr } from '../core/identity/csr.ts'
import { formatKeptSvid, isKeptGood, parseKeptSvid } from '../core/identity/kept-svid.ts'
import type { Svid } from '../ports.ts'
import type {
  ControllerClient,
  ControllerTrust,
  IdentityState,
  Keys,
  Log,
  SidecarKey,
  WorkloadAttester,
} from './identity-ports.ts'

export interface PodAttestParts {
  readonly pod: {
    readonly namespace: string
    readonly name: string
    readonly uid: string
    readonly serviceAccount: string
  }
  /** Undefined: there is no such file. */
  readonly readToken: () => Promise<Secret<string> | undefined>
  /** PEM. Undefined: there is no such file. */
  readonly readRoots: () => Promise<Secret<string> | undefined>
  /** In memory, never on a disk: it gets the SVID's key. Undefined: nothing is kept. */
  readonly state: IdentityState | undefined
  readonly client: Pick<ControllerClient, 'attest'>
  readonly keys: Keys
  readonly clock: Clock
  readonly instanceId: string
  readonly log: Log
}

const MAX_ROOTS = 16

export class PodAttester implements WorkloadAttester {
  readonly #parts: PodAttestParts
  #hasLooked = false
  #latest: { readonly svid: Svid; readonly key: SidecarKey } | undefined
  #storeProblem: MeshError | undefined

  constructor(parts: PodAttestParts) {
    this.#parts = parts
  }

  async attest(current: Svid | undefined, signal: AbortSignal): Promise<Svid> {
    const trust = await this.#readTrust()
    const kept = this.#hasLooked ? undefined : await this.#load(trust)
    this.#hasLooked = true
    if (kept !== undefined) return kept
    const { client, keys, instanceId, pod } = this.#parts
    const token = await this.#readToken()
    const key = await keys.generate()
    const { publicKey } = key
    const uri = this.#spiffeId(trust)
    const csr = buildCsr({ publicKey, uri, sign: (bytes) => key.sign(bytes) })
    const call = { csr, instanceId, proof: { kind: 'pod', token } as const }
    const svid = current?.workload.uid === pod.uid ? current : undefined
    const answer = await client.attest(trust, call, { svid, signal })
    const renewed = this.#accept(answer, key, trust)
    await this.#keep(renewed, key)
    return renewed
  }

  async proofText(): Promise<string> {
    const { readToken, readRoots } = this.#parts
    const read = [readToken(), readRoots()].map((text) => text.catch(() => undefined))
    const texts = await Promise.all(read)
    return texts.map((text) => text?.reveal() ?? '').join('\n')
  }

  async updateTrustBundle(trustBundle: readonly Uint8Array[]): Promise<void> {
    if (this.#latest === undefined) return
    const { svid, key } = this.#latest
    await this.#keep({ ...svid, trustBundle }, key)
  }

  storeProblem(): MeshError | undefined {
    return this.#storeProblem
  }

  async storeAgain(): Promise<void> {
    if (this.#latest !== undefined) await this.#keep(this.#latest.svid, this.#latest.key)
  }

  #spiffeId({ trustDomain }: ControllerTrust): string {
    const { namespace, serviceAccount } = this.#parts.pod
    return `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}`
  }

  #asked(key: SidecarKey, trust: ControllerTrust): Asked {
    const { namespace, name, uid } = this.#parts.pod
    return {
      publicKey: key.publicKey,
      credentialKey: undefined,
      trustDomain: trust.trustDomain,
      workloadUid: uid,
      self: { namespace, name, spiffeId: this.#spiffeId(trust) },
      nowMs: this.#parts.clock.now(),
    }
  }

  #accept(answer: AttestAnswer, key: SidecarKey, trust: ControllerTrust): Svid {
    const checked = checkAnswer(answer, this.#asked(key, trust))
    const { spiffeId, workload, certificateChain, trustBundle } = checked
    const { serialNumber, notBeforeMs, notAfterMs } = checked
    return {
      spiffeId,
      workload,
      certificateChain,
      trustBundle,
      privateKey: key.privateKey,
      serialNumber,
      notBeforeMs,
      notAfterMs,
    }
  }

  /** Throws ERR_CONFIG: nobody is asked before it is known whom to believe. */
  async #readTrust(): Promise<ControllerTrust> {
    const text = await this.#parts.readRoots()
    const roots = fromPem(text?.reveal() ?? '')
    const trustDomain = roots.length > MAX_ROOTS ? undefined : commonTrustDomain(roots)
    if (trustDomain !== undefined) return { trustDomain, roots }
    const fault = text === undefined ? 'is not there' : 'has no roots of one trust domain in it'
    const message = `--roots-file ${fault}; the ConfigMap postern-ca-roots of the namespace is mounted there`
    throw new MeshError('ERR_CONFIG', message, { retry: 'backoff' })
  }

  async #readToken(): Promise<Secret<string>> {
    const token = await this.#parts.readToken()
    if (token !== undefined && token.reveal() !== '') return token
    const message =
      '--pod-token-file is missing or empty; a projected token for postern-ca belongs there'
    throw new MeshError('ERR_TOKEN_INVALID', message, { retry: 'backoff' })
  }

  /** What an earlier start of the container had, if it is still good; a text that is not is as none. */
  async #load(trust: ControllerTrust): Promise<Svid | undefined> {
    const { state, keys, log } = this.#parts
    try {
      const text = await state?.load()
      const kept = text && parseKeptSvid(text)
      if (kept === undefined) return undefined
      const key = keys.fromPem(kept.key)
      if (!isKeptGood(kept, this.#asked(key, trust), trust.roots)) return undefined
      const svid = this.#accept(kept.answer, key, trust)
      this.#latest = { svid, key }
      log.info({ serialNumber: svid.serialNumber }, 'identity of the last start is used')
      return svid
    } catch (err) {
      log.warn({ err }, 'identity of the last start is not used')
      return undefined
    }
  }

  async #keep(svid: Svid, key: SidecarKey): Promise<void> {
    this.#latest = { svid, key }
    try {
      await this.#parts.state?.store(formatKeptSvid(svid, key.toPem()))
      this.#storeProblem = undefined
    } catch (problem) {
      if (!(problem instanceof MeshError)) throw problem
      this.#storeProblem = problem
    }
  }
}
