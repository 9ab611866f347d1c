/**
 * Why there is no connection to the controller, in the user's words. In: what grpc-js or node:tls says. Out: MeshErrors
 * ERR_CONTROLLER_UNAVAILABLE, or ERR_CONTROLLER_UNTRUSTED when something answers that is not the controller.
 */
import type * as grpc from '@grpc/grpc-js'
import { MeshError } from '../../../common/errors.ts'
import { withoutNodeHint } from '../../core/identity/controller-trust.ts'

/** What a failed call or handshake means. */
export function toConnectError(controller: string, cause: unknown): MeshError {
  const details = (cause as Partial<grpc.ServiceError>).details ?? String(cause)
  if (/certificate|CERT_/.test(details)) return untrusted(controller, withoutNodeHint(details))
  return unavailable(controller, cause)
}

export function unavailable(controller: string, cause: unknown): MeshError {
  const text = `the controller at ${controller} cannot be reached: ${reasonOf(cause)}`
  return new MeshError('ERR_CONTROLLER_UNAVAILABLE', text, { retry: 'backoff', cause })
}

/** What failed, without the words that grpc-js wraps around it: `14 UNAVAILABLE: No connection established. Last error: …` */
function reasonOf(cause: unknown): string {
  const { details, message } = cause as Partial<grpc.ServiceError>
  const text = details ?? message ?? String(cause)
  return text
    .replace(/^No connection established\. Last error: (?:Error: )?/, '')
    .replace(/\.? ?Resolution note: ?$/, '')
}

export function untrusted(controller: string, fault: string): MeshError {
  const message = `${controller} is not the controller that is trusted: ${fault}`
  return new MeshError('ERR_CONTROLLER_UNTRUSTED', message, { retry: 'backoff' })
}
