/**
 * The controller's own certificate: reserved SPIFFE id, own key in memory, renewed at half-life.
 * Out: what the TLS port serves. Its chain includes the root, since a sidecar with a join token knows only the root's
 * fingerprint. A renewal that fails leaves the old one in place and is tried again at the next look.
 */
import type { KeyObject } from 'node:crypto'
import type { Clock } from '../../../common/clock.ts'
import { toPem } from '../../../common/pem.ts'
import { type Lease, leasePhase, startLease } from '../../../common/renewal.ts'
import type { Secret } from '../../../common/secret.ts'
import { CONTROLLER_NAMESPACE, CONTROLLER_SERVICE_ACCOUNT } from '../../../common/spiffe-id.ts'
import { CONTROLLER_UID } from '../../../common/svid-extension.ts'
import type { Authority } from './authority.ts'
import type { Keys, Log, WorkloadDirectory } from './ports.ts'

/** How often time is looked at; a long timer would sleep through a clock that jumps. */
const LOOK_EVERY_MS = 1_000

/** Without a model (a restart while manifests are broken), as the Mesh's default. */
const DEFAULT_LIFETIME_SECONDS = 86_400

export interface OwnSvid {
  readonly privateKey: Secret<KeyObject>
  /** Lower-case hex. */
  readonly serialNumber: string
  readonly notAfterMs: number
  /** PEM, leaf first, with the root. */
  readonly certificateChainPem: string
  /** PKCS#8, PEM: for `tls.createSecureContext` only. */
  readonly privateKeyPem: Secret<string>
  readonly trustBundlePem: string
}

export interface OwnSvidParts {
  readonly authority: Authority
  readonly directory: WorkloadDirectory
  readonly keys: Keys
  readonly clock: Clock
  /** In [0, 1). */
  readonly random: () => number
  readonly log: Log
}

export interface OwnSvidSource {
  current(): OwnSvid
  /** Called at each renewal; returns the way to stop. */
  onRenewed(listener: (svid: OwnSvid) => void): () => void
  /** The authority or its roots are others now. */
  renewNow(): void
  stop(): void
}

/** Resolves with the first certificate in place. Throws ERR_CA_NOT_READY. */
export async function startOwnSvid(parts: OwnSvidParts): Promise<OwnSvidSource> {
  const listeners = new Set<(svid: OwnSvid) => void>()
  let { svid, lease } = await issue(parts)
  let isRenewing = false
  let isWanted = false
  const look = async () => {
    if (isRenewing) return
    if (!isWanted && leasePhase(lease, momentOf(parts.clock)) === 'fresh') return
    isRenewing = true
    try {
      isWanted = false
      const renewed = await issue(parts)
      svid = renewed.svid
      lease = renewed.lease
      parts.log.info({ serialNumber: svid.serialNumber }, 'controller certificate renewed')
      for (const listener of listeners) listener(svid)
    } catch (err) {
      isWanted = true
      parts.log.error({ err }, 'controller certificate not renewed')
    } finally {
      isRenewing = false
    }
  }
  const timer = setInterval(() => void look(), LOOK_EVERY_MS).unref()
  return {
    current: () => svid,
    onRenewed(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    renewNow() {
      isWanted = true
      void look()
    },
    stop: () => clearInterval(timer),
  }
}

async function issue(parts: OwnSvidParts): Promise<{ svid: OwnSvid; lease: Lease }> {
  const { authority, clock } = parts
  const settings = parts.directory.settings()
  const key = await parts.keys.generate()
  const start = momentOf(clock)
  const { der, serialNumber, notAfterMs } = await authority.signSvid({
    identity: {
      trustDomain: authority.trustDomain,
      namespace: CONTROLLER_NAMESPACE,
      serviceAccount: CONTROLLER_SERVICE_ACCOUNT,
    },
    workloadUid: CONTROLLER_UID,
    publicKey: key.publicKey,
    lifetimeSeconds: settings?.svidLifetimeSeconds ?? DEFAULT_LIFETIME_SECONDS,
    maxLifetimeSeconds: settings?.maxSvidLifetimeSeconds ?? DEFAULT_LIFETIME_SECONDS,
  })
  const svid = {
    privateKey: key.privateKey,
    serialNumber,
    notAfterMs,
    certificateChainPem: toPem(der) + authority.rootPem,
    privateKeyPem: key.toPem(),
    trustBundlePem: authority.trustBundlePem,
  }
  return { svid, lease: startLease(start, notAfterMs, parts.random()) }
}

function momentOf(clock: Clock) {
  return { wallMs: clock.now(), monotonicMs: clock.monotonic() }
}
