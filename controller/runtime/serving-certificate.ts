/**
 * The webhooks' own certificate: issued by the mesh's authority, its key in memory, issued anew together with the controller's
 * SVID, so at half-life and when the authority's keys are others. A renewal that fails leaves the old one and is tried again.
 */
import { toPem } from '../../common/pem.ts'
import type { Secret } from '../../common/secret.ts'
import type { Authority } from './identity/authority.ts'
import type { OwnSvidSource } from './identity/own-svid.ts'
import type { Keys, Log } from './identity/ports.ts'

export interface ServingParts {
  readonly authority: Authority
  readonly own: OwnSvidSource
  readonly keys: Keys
  readonly dnsNames: readonly string[]
  readonly lifetimeSeconds: number
  readonly log: Log
}

export interface Serving {
  /** PEM, leaf and root. */
  readonly certificatePem: string
  readonly privateKeyPem: Secret<string>
}

const RETRY_MS = 5_000

/** Resolves with the first certificate, and the way to stop renewing it. Throws ERR_CA_NOT_READY. */
export async function keepServing(
  parts: ServingParts,
  onRenewed: (serving: Serving) => void,
): Promise<{ readonly first: Serving; readonly stop: () => void }> {
  let timer: NodeJS.Timeout | undefined
  const renew = async () => {
    clearTimeout(timer)
    try {
      onRenewed(await issue(parts))
      parts.log.info({}, 'webhook certificate renewed')
    } catch (err) {
      parts.log.error({ err }, 'webhook certificate not renewed')
      timer = setTimeout(() => void renew(), RETRY_MS).unref()
    }
  }
  const first = await issue(parts)
  const off = parts.own.onRenewed(() => void renew())
  const stop = () => {
    off()
    clearTimeout(timer)
  }
  return { first, stop }
}

async function issue({
  authority,
  keys,
  dnsNames,
  lifetimeSeconds,
}: ServingParts): Promise<Serving> {
  const key = await keys.generate()
  const { der } = await authority.signServing({
    dnsNames,
    publicKey: key.publicKey,
    lifetimeSeconds,
  })
  return { certificatePem: toPem(der) + authority.trustBundlePem, privateKeyPem: key.toPem() }
}
