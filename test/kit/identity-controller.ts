/**
 * A controller's identity part in memory, and sidecar attestation against it without a network: the real decisions of
 * both programs. Disk and time are the test's.
 */
import { randomBytes } from 'node:crypto'
import { MeshError } from '../../common/errors.ts'
import { Secret } from '../../common/secret.ts'
import { nodeKeys } from '../../controller/adapters/crypto/keys.ts'
import { readPeer } from '../../controller/core/ca/peer.ts'
import { createAuthority } from '../../controller/runtime/identity/authority.ts'
import type { Revocation } from '../../controller/runtime/identity/claim.ts'
import { openControllerIdentity } from '../../controller/runtime/identity/identity.ts'
import type {
  AttestedWorkload,
  IdentityStore,
  IsLive,
  PodWitness,
} from '../../controller/runtime/identity/ports.ts'
import { nodeKeys as sidecarKeys } from '../../sidecar/adapters/crypto/keys.ts'
import { Attester } from '../../sidecar/runtime/identity-attest.ts'
import type { ControllerClient, IdentityState } from '../../sidecar/runtime/identity-ports.ts'
import { FakeClock } from './fake-clock.ts'

export const NOW = Date.parse('2026-11-24T08:00:00Z')

/** The `ca` folder in memory. `failWrites` makes the disk full. */
export class MemoryStore implements IdentityStore {
  readonly place = 'memory'
  readonly remedy =
    'restore the ca folder from a backup, or remove the whole state directory to begin anew: every workload must then join again'
  files: Map<string, string> | undefined
  failWrites = false
  writes = 0
  /** Runs before a write counts; a test may hold it. */
  beforeWrite: () => Promise<void> = async () => {}

  async exists() {
    return this.files !== undefined
  }

  async create(files: ReadonlyMap<string, Secret<string>>) {
    this.files = new Map([...files].map(([name, content]) => [name, content.reveal()]))
  }

  async read(name: string) {
    const text = this.files?.get(name)
    if (text === undefined) throw new MeshError('ERR_STATE_CORRUPT', `${name} is missing`)
    return new Secret(text)
  }

  async write(name: string, content: Secret<string>) {
    await this.beforeWrite()
    if (this.failWrites) throw new MeshError('ERR_STATE_WRITE', 'disk full', { retry: 'backoff' })
    this.writes += 1
    this.files?.set(name, content.reveal())
  }
}

/** The sidecar's identity.json in memory. */
export class MemoryState implements IdentityState {
  text: string | undefined
  failWrites = false

  async load() {
    return this.text === undefined ? undefined : new Secret(this.text)
  }

  async setAside() {
    this.text = undefined
  }

  async store(text: Secret<string>) {
    if (this.failWrites) throw new MeshError('ERR_STATE_WRITE', 'disk full', { retry: 'backoff' })
    this.text = text.reveal()
  }
}

export const WEB: AttestedWorkload = {
  namespace: 'shop',
  name: 'web',
  uid: 'uid-web',
  spiffeId: 'spiffe://shop.example/ns/shop/sa/web',
}

export const silentLog = { info() {}, warn() {}, error() {} }

export interface ControllerOptions {
  readonly store?: MemoryStore
  readonly clock?: FakeClock
  readonly workloads?: AttestedWorkload[]
  readonly svidLifetimeSeconds?: number
  readonly isLive?: IsLive
  readonly pods?: PodWitness
}

export async function makeController(options: ControllerOptions = {}) {
  const store = options.store ?? new MemoryStore()
  const clock = options.clock ?? new FakeClock(NOW)
  const workloads = options.workloads ?? [WEB]
  const revoked: Revocation[] = []
  const settings = {
    trustDomain: 'shop.example',
    svidLifetimeSeconds: options.svidLifetimeSeconds ?? 3600,
    maxSvidLifetimeSeconds: 86_400,
  }
  const model: { settings: typeof settings | undefined } = { settings }
  const authority = { trustDomain: 'shop.example', store, keys: nodeKeys, clock, randomBytes }
  await createAuthority({ ...authority, rootLifetimeSeconds: 315_360_000 })
  const identity = await openControllerIdentity({
    ...authority,
    directory: {
      settings: () => model.settings,
      workloadOf: (query) =>
        workloads.find((w) =>
          'uid' in query ? w.uid === query.uid : `${w.namespace}/${w.name}` === query.key,
        ),
    },
    isLive: options.isLive ?? (async () => false),
    ...(options.pods === undefined ? {} : { pods: options.pods }),
    log: silentLog,
    onRevoked: (event) => revoked.push(event),
  })
  return { identity, store, clock, workloads, revoked, model }
}

export type TestController = Awaited<ReturnType<typeof makeController>>

/** Speaks to the controller as the gRPC client does. Each hook may fail to play a lost message. */
export function makeClient(
  controller: TestController,
  hooks: { afterAttest?: () => void; isGone?: () => boolean; address?: string } = {},
): ControllerClient {
  const { attestation, authority } = controller.identity
  return {
    async fetchTrust(fingerprint) {
      if (!Buffer.from(fingerprint).equals(authority.rootFingerprint))
        throw new MeshError('ERR_CONTROLLER_UNTRUSTED', 'another root')
      return { trustDomain: authority.trustDomain, roots: authority.trustBundle }
    },
    async attest(_, call, { svid }) {
      const { proof, csr, instanceId } = call
      const nonce = attestation.challenge()
      const {
        workload,
        svid: issued,
        credential,
        trustBundle,
      } = await attestation.attest(
        {
          csr,
          instanceId,
          proof:
            proof.kind !== 'credential'
              ? proof
              : {
                  kind: 'credential',
                  certificate: proof.certificate,
                  nonce,
                  signature: proof.proveBy(nonce),
                },
        },
        {
          peer: svid && readPeer(svid.certificateChain[0] ?? new Uint8Array()),
          isGone: hooks.isGone ?? (() => false),
          ...(hooks.address === undefined ? {} : { address: hooks.address }),
        },
      )
      hooks.afterAttest?.()
      const { spiffeId } = workload
      const answer = { certificateChain: [issued.der], trustBundle, spiffeId, workload }
      return { ...answer, credential: credential?.der ?? new Uint8Array() }
    },
  }
}

/** One sidecar process: its state folder may be shared with an earlier or a second one. */
export function makeSidecar(
  controller: TestController,
  options: {
    state?: MemoryState
    token?: Secret<string>
    instanceId?: string
    client?: ControllerClient
  } = {},
) {
  const state = options.state ?? new MemoryState()
  const tokenFile: { text: Secret<string> | undefined } = { text: options.token }
  const attester = new Attester({
    state,
    client: options.client ?? makeClient(controller),
    keys: sidecarKeys,
    readJoinToken: async () => tokenFile.text,
    clock: controller.clock,
    instanceId: options.instanceId ?? randomBytes(16).toString('hex'),
  })
  const { signal } = new AbortController()
  return {
    state,
    tokenFile,
    attester,
    attest: (svid?: Parameters<Attester['attest']>[0]) => attester.attest(svid, signal),
  }
}
