/**
 * Re-attestation certificates as they come back: DER in, what it says out, after its signature by the attestation key,
 * its kind and its time were checked. Possession of its key is the caller's next check.
 */
import { createPublicKey, type KeyObject, verify } from 'node:crypto'
import { reattestationPayload, sha256 } from '../../../common/attestation.ts'
import {
  type Certificate,
  isCa,
  OID,
  parseCertificate,
  sameBytes,
  serialHex,
  workloadUidOf,
} from '../../../common/certificate.ts'
import { DerError } from '../../../common/der.ts'
import { MeshError } from '../../../common/errors.ts'
import type { Issuer } from './template.ts'

/** A P-256 certificate with a UID takes about 500 bytes. */
export const MAX_CREDENTIAL_BYTES = 4096
/** A DER signature of P-256 takes at most 72 bytes. */
const MAX_SIGNATURE_BYTES = 80

export interface Credential {
  readonly workloadUid: string
  /** Lower-case hex. */
  readonly serialNumber: string
  /** Hex SHA-256 of `publicKey`. */
  readonly keyHash: string
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Uint8Array
  readonly key: KeyObject
}

/** Throws ERR_CREDENTIAL_INVALID. */
export function readCredential(der: Uint8Array, issuer: Issuer, nowMs: number): Credential {
  const certificate = parse(der)
  const workloadUid = workloadUidOf(certificate)
  const isOurs =
    workloadUid !== undefined &&
    !isCa(certificate) &&
    certificate.signatureAlgorithm === OID.ecdsaWithSha256 &&
    sameBytes(certificate.issuer, issuer.subject) &&
    isSignedBy(certificate, issuer)
  if (!isOurs || workloadUid === undefined) throw invalid('credential is not signed by this CA')
  if (nowMs < certificate.notBeforeMs || nowMs >= certificate.notAfterMs)
    throw invalid('credential is not valid now')
  return {
    workloadUid,
    serialNumber: serialHex(certificate),
    keyHash: hashOfKey(certificate.publicKey),
    publicKey: certificate.publicKey,
    key: toKey(certificate.publicKey),
  }
}

/** Whether `signature` is the credential's, over this nonce and request. */
export function isProof(
  credential: Credential,
  proof: { nonce: Uint8Array; csr: Uint8Array; signature: Uint8Array },
): boolean {
  if (proof.signature.length > MAX_SIGNATURE_BYTES) return false
  const payload = reattestationPayload(proof.nonce, proof.csr)
  return verify('sha256', payload, credential.key, proof.signature)
}

/** Hex SHA-256 of a SubjectPublicKeyInfo. */
export function hashOfKey(publicKey: Uint8Array): string {
  return sha256(publicKey).toString('hex')
}

function parse(der: Uint8Array): Certificate {
  if (der.length > MAX_CREDENTIAL_BYTES) throw invalid('credential is too large')
  try {
    const certificate = parseCertificate(der)
    // Reads both extensions once, so that a broken one is refused here.
    isCa(certificate)
    workloadUidOf(certificate)
    return certificate
  } catch (error) {
    if (error instanceof DerError) throw invalid('credential is not a certificate')
    throw error
  }
}

function isSignedBy(certificate: Certificate, issuer: Issuer): boolean {
  return verify('sha256', certificate.tbs, toKey(issuer.publicKey), certificate.signature)
}

function toKey(publicKey: Uint8Array): KeyObject {
  return createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'spki' })
}

function invalid(message: string): MeshError {
  return new MeshError('ERR_CREDENTIAL_INVALID', message)
}
