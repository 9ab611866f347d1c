/**
 * WorkloadEntry → the workload's identity and the ports that it serves, before anything else is known of the mesh.
 * A workload without a usable identity or address is left out whole; nothing is programmed under a guessed name.
 */
import type { Problem } from '../../../common/errors.ts'
import {
  CONTROLLER_NAMESPACE,
  CONTROLLER_SERVICE_ACCOUNT,
  formatSpiffeId,
  isSpiffeId,
} from '../../../common/spiffe-id.ts'
import type {
  ObjectMeta,
  WorkloadEntry,
  WorkloadEntryInbound,
  WorkloadEntrySpec,
} from '../crd/index.ts'
import type { InboundPort } from '../model/mesh.ts'
import { canonicalAddress } from './address.ts'
import { checkAppProtocol, readAppProtocol } from './app-protocol.ts'
import { namespaceOf, refOf } from './objects.ts'
import type { PortSubject } from './peer-authentication.ts'

/** An inbound port whose mTLS mode is not known yet; `index` is its place in `spec.inbound`. */
export interface InboundDraft extends Omit<InboundPort, 'mtls'> {
  readonly index: number
}

export interface WorkloadDraft extends PortSubject {
  readonly object: { readonly kind: string; readonly metadata: ObjectMeta }
  /** What is resolved against the rest of the mesh. */
  readonly spec: Pick<
    WorkloadEntrySpec,
    'outbound' | 'capture' | 'serviceHosts' | 'serviceAddresses'
  >
  readonly spiffeId: string
  /** Canonical. */
  readonly address: string
  readonly inbound: readonly InboundDraft[]
  /** The port of its proxy that takes what comes for any port: then no port is claimed, and none is unknown. */
  readonly capturedBy?: number
  /** Absent: it stands in the input's `uids`. */
  readonly uid?: string
}

export interface WorkloadEntryTranslation {
  /** What policies attach to; there even when the workload itself is refused. */
  readonly subject: PortSubject
  readonly draft: WorkloadDraft | undefined
  readonly problems: readonly Problem[]
}

export function translateWorkloadEntry(
  object: WorkloadEntry,
  trustDomain: string,
): WorkloadEntryTranslation {
  const subject = toSubject(object)
  const spiffeId = formatSpiffeId({ trustDomain, ...subject })
  const address = canonicalAddress(object.spec.address)
  const problems = checkIdentity(object, subject, spiffeId)
  if (address === undefined) {
    problems.push(badAddress(object, 'spec.address', object.spec.address))
  }
  if (problems.length > 0 || address === undefined) return { subject, draft: undefined, problems }
  const inbound: InboundDraft[] = []
  for (const [index, port] of (object.spec.inbound ?? []).entries()) {
    const unsound = checkAppProtocol(object, index)
    if (unsound !== undefined) problems.push(unsound)
    const appAddress = canonicalAddress(port.appAddress)
    if (appAddress === undefined) {
      problems.push(badAddress(object, `spec.inbound[${index}].appAddress`, port.appAddress))
    } else inbound.push(toInbound(port, { index, address, appAddress }))
  }
  return {
    subject,
    draft: { ...subject, object, spec: object.spec, spiffeId, address, inbound },
    problems,
  }
}

type Named = WorkloadDraft['object']

/** What is wrong with the identity that the object would have. */
export function checkIdentity(object: Named, subject: PortSubject, spiffeId: string): Problem[] {
  if (isReserved(subject)) return [reservedIdentity(object)]
  return isSpiffeId(spiffeId) ? [] : [badIdentity(object, spiffeId)]
}

function toSubject(object: WorkloadEntry): PortSubject {
  return {
    namespace: namespaceOf(object),
    name: object.metadata.name,
    service: serviceOf(object),
    serviceAccount: object.spec.serviceAccount,
    labels: object.metadata.labels ?? {},
    ports: (object.spec.inbound ?? []).map((p) => p.port),
  }
}

/** The name of the service, in the workload's namespace. */
export function serviceOf(object: WorkloadEntry): string {
  return object.spec.service ?? object.metadata.name
}

function toInbound(
  port: WorkloadEntryInbound,
  at: { readonly index: number; readonly address: string; readonly appAddress: string },
): InboundDraft {
  return {
    ...at,
    name: port.name,
    port: port.port,
    appPort: port.appPort,
    ...readAppProtocol(port),
  }
}

function isReserved(subject: PortSubject): boolean {
  return (
    subject.namespace === CONTROLLER_NAMESPACE &&
    subject.serviceAccount === CONTROLLER_SERVICE_ACCOUNT
  )
}

function reservedIdentity(object: Named): Problem {
  return {
    code: 'ERR_SPIFFE_ID',
    object: refOf(object),
    field: 'spec.serviceAccount',
    message: `"${CONTROLLER_SERVICE_ACCOUNT}" in "${CONTROLLER_NAMESPACE}" is the controller's own identity`,
    remedy: 'use another service account',
  }
}

function badIdentity(object: Named, spiffeId: string): Problem {
  return {
    code: 'ERR_SPIFFE_ID',
    object: refOf(object),
    field: 'spec.serviceAccount',
    message: `"${spiffeId}" is not a SPIFFE id`,
    remedy: 'use letters, digits, dots, dashes and underscores only',
  }
}

function badAddress(object: WorkloadEntry, field: string, address: string): Problem {
  return {
    code: 'ERR_FIELD_VALUE',
    object: refOf(object),
    field,
    message: `"${address}" is not an IP address that can be called`,
    remedy: 'give an IPv4 or IPv6 address, not a name and not 0.0.0.0',
  }
}
