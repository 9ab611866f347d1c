/**
 * Builders for identity tests: keys, a certificate authority in memory, SVIDs, requests. Real signatures, no files.
 */
import {
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from 'node:crypto'
import { parseCertificate } from '../../common/certificate.ts'
import { nodeKeys } from '../../controller/adapters/crypto/keys.ts'
import { issueCertificate } from '../../controller/core/ca/issue.ts'
import {
  issuerOf,
  rootTemplate,
  serialFrom,
  svidTemplate,
} from '../../controller/core/ca/template.ts'
import { buildCsr } from '../../sidecar/core/identity/csr.ts'

export interface TestKey {
  readonly privateKey: KeyObject
  readonly publicKey: Uint8Array
  readonly sign: (bytes: Uint8Array) => Uint8Array
}

export function makeKey(): TestKey {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
  return {
    privateKey,
    publicKey: createPublicKey(privateKey).export({ format: 'der', type: 'spki' }),
    sign: (bytes) => sign('sha256', bytes, privateKey),
  }
}

export function makeCsr(
  key: TestKey,
  asks: { readonly uri?: string; readonly challengePassword?: string } = {},
): Uint8Array {
  return buildCsr({ publicKey: key.publicKey, sign: key.sign, ...asks })
}

export function toPem(der: Uint8Array, label = 'CERTIFICATE'): string {
  const body = Buffer.from(der)
    .toString('base64')
    .replace(/(.{64})(?!$)/g, '$1\n')
  return `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`
}

export async function makeCa(options: { trustDomain?: string; nowMs?: number } = {}) {
  const trustDomain = options.trustDomain ?? 'shop.example'
  const nowMs = options.nowMs ?? Date.now()
  const signer = await nodeKeys.generate()
  const template = rootTemplate({
    serialNumber: serialFrom(randomBytes(16)),
    publicKey: signer.publicKey,
    nowMs,
    trustDomain,
    lifetimeSeconds: 315_360_000,
  })
  const root = await issueCertificate(template, issuerOf(template), signer)
  const issuer = issuerOf(parseCertificate(root.der))
  return { trustDomain, nowMs, signer, template, root, issuer }
}

export type TestCa = Awaited<ReturnType<typeof makeCa>>

/** An SVID of `ns/<namespace>/sa/<serviceAccount>`, valid from the CA's start. */
export async function makeSvid(
  ca: TestCa,
  options: {
    namespace?: string
    serviceAccount?: string
    workloadUid?: string
    lifetimeSeconds?: number
    nowMs?: number
  } = {},
) {
  const key = makeKey()
  const template = svidTemplate(ca.issuer, {
    serialNumber: serialFrom(randomBytes(16)),
    publicKey: key.publicKey,
    nowMs: options.nowMs ?? ca.nowMs,
    identity: {
      trustDomain: ca.trustDomain,
      namespace: options.namespace ?? 'shop',
      serviceAccount: options.serviceAccount ?? 'web',
    },
    workloadUid: options.workloadUid ?? 'uid-web',
    lifetimeSeconds: options.lifetimeSeconds ?? 3600,
    maxLifetimeSeconds: 86_400,
  })
  const certificate = await issueCertificate(template, ca.issuer, ca.signer)
  return { key, template, ...certificate }
}
