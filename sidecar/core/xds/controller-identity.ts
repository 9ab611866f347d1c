/**
 * Whether a server certificate is the controller's: its one URI SAN must be the reserved SPIFFE id (DESIGN §3), so
 * that no workload's valid SVID can pose as the controller. In: the leaf's DER, after TLS verified its chain.
 */
import { parseCertificate, soleUri } from '../../../common/certificate.ts'
import { MeshError } from '../../../common/errors.ts'
import { controllerSpiffeId } from '../../../common/spiffe-id.ts'

/** An error for anything but the controller of this trust domain; never throws. */
export function controllerProblem(der: Uint8Array, trustDomain: string): MeshError | undefined {
  const expected = controllerSpiffeId(trustDomain)
  try {
    const uri = soleUri(parseCertificate(der))
    if (uri === expected) return undefined
    const message = `server is ${uri ?? 'without one URI name'}, not the controller ${expected}`
    return new MeshError('ERR_CONTROLLER_UNTRUSTED', message)
  } catch (cause) {
    const message = 'server certificate cannot be read'
    return new MeshError('ERR_CONTROLLER_UNTRUSTED', message, { cause })
  }
}
