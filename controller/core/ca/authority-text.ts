/**
 * The CA's stored halves as text: a certificate and its key, PEM one after the other, so that `openssl x509 -in` reads
 * the file. Reading checks that a certificate is the self-signed CA that it should be; keys are the caller's.
 */

import { createPublicKey, verify } from 'node:crypto'
import { type Certificate, isCa, parseCertificate, soleUri } from '../../../common/certificate.ts'
import { MeshError } from '../../../common/errors.ts'
import { toPem } from '../../../common/pem.ts'
import { Secret } from '../../../common/secret.ts'

const CERTIFICATE = /-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/=\n]+)-----END CERTIFICATE-----\n/g
const KEY = /-----BEGIN PRIVATE KEY-----\n[A-Za-z0-9+/=\n]+-----END PRIVATE KEY-----\n/g

export interface StoredPair {
  readonly certificate: Certificate
  /** PKCS#8, PEM. */
  readonly key: Secret<string>
}

export function formatPair(certificate: Uint8Array, key: Secret<string>): Secret<string> {
  return new Secret(toPem(certificate) + key.reveal())
}

/**
 * Throws ERR_STATE_CORRUPT unless the text is one self-signed CA certificate of this kind and one key.
 * `uri`: its only subjectAltName; undefined: it must have none. `name` is the file's, for the message.
 */
export function parsePair(
  text: Secret<string>,
  expected: {
    readonly name: string
    readonly uri: string | undefined
    /** What to do about a text that is none of this. */
    readonly remedy?: string
  },
): StoredPair {
  const certificates = [...text.reveal().matchAll(CERTIFICATE)]
  const keys = [...text.reveal().matchAll(KEY)]
  const [certificateMatch] = certificates
  const [keyMatch] = keys
  if (certificates.length !== 1 || keys.length !== 1 || certificateMatch?.[1] === undefined)
    throw corrupt(expected, 'it is not one certificate and one key')
  const certificate = readRoot(Buffer.from(certificateMatch[1], 'base64'), expected)
  if (soleUri(certificate) !== expected.uri) {
    const found = soleUri(certificate) ?? 'no trust domain'
    throw corrupt(expected, `it is of ${found}, not of ${expected.uri ?? 'the attestation'}`)
  }
  return { certificate, key: new Secret(keyMatch?.[0] ?? '') }
}

/**
 * Further roots of this trust domain, DER; any text between them is a comment. Throws ERR_STATE_CORRUPT when one is none.
 */
export function parseRoots(
  pem: string,
  expected: { readonly name: string; readonly uri: string; readonly remedy?: string },
): readonly Uint8Array[] {
  return [...pem.matchAll(CERTIFICATE)].map(([, base64 = '']) => {
    const certificate = readRoot(Buffer.from(base64, 'base64'), expected)
    if (soleUri(certificate) === expected.uri) return certificate.der
    const found = soleUri(certificate) ?? 'no trust domain'
    throw corrupt(expected, `a root is of ${found}, not of ${expected.uri}`)
  })
}

function readRoot(der: Uint8Array, expected: Expected): Certificate {
  try {
    const certificate = parseCertificate(der)
    const { publicKey, tbs, signature } = certificate
    const key = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'spki' })
    if (isCa(certificate) && verify('sha256', tbs, key, signature)) return certificate
  } catch {
    throw corrupt(expected, 'its certificate cannot be read')
  }
  throw corrupt(expected, 'its certificate is not a self-signed CA')
}

interface Expected {
  readonly name: string
  readonly remedy?: string
}

const REMEDY =
  'restore it from a backup, or remove the whole state directory to begin anew: every workload must join again'

function corrupt({ name, remedy = REMEDY }: Expected, why: string): MeshError {
  return new MeshError('ERR_STATE_CORRUPT', `${name} is damaged: ${why}; ${remedy}`)
}
