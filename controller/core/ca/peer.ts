/**
 * Who a verified client certificate says that its holder is. In: the leaf's DER, after TLS verified its chain.
 * Out: SPIFFE id and UID, or undefined for a certificate that is not an SVID of Postern's shape.
 * It never verifies signatures: callers must have done so (CONTRACT: `socket.authorized`).
 * Source: X509-SVID §2 (exactly one URI SAN), §5; DESIGN §3 (UID).
 */
import { isCa, parseCertificate, soleUri, workloadUidOf } from '../../../common/certificate.ts'
import { DerError } from '../../../common/der.ts'
import { parseSpiffeId } from '../../../common/spiffe-id.ts'
import { isProvisionalSerial } from './template.ts'

export interface Peer {
  readonly spiffeId: string
  readonly workloadUid: string
  /** It was issued for an SVID alone. */
  readonly isProvisional: boolean
  readonly notBeforeMs: number
  readonly notAfterMs: number
}

/** Undefined unless: a leaf, exactly one URI SAN that is a workload's SPIFFE id, and a well-formed UID. Never throws. */
export function readPeer(der: Uint8Array): Peer | undefined {
  try {
    const certificate = parseCertificate(der)
    const spiffeId = soleUri(certificate)
    const workloadUid = workloadUidOf(certificate)
    if (isCa(certificate) || spiffeId === undefined || workloadUid === undefined) return undefined
    if (parseSpiffeId(spiffeId) === undefined) return undefined
    const { notBeforeMs, notAfterMs, serialNumber } = certificate
    const isProvisional = isProvisionalSerial(serialNumber)
    return { spiffeId, workloadUid, isProvisional, notBeforeMs, notAfterMs }
  } catch (error) {
    if (error instanceof DerError) return undefined
    throw error
  }
}
