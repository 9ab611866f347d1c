/**
 * Checks what the controller answered before anything of it is stored or used: it must be ours (our keys), whole
 * (chain, bundle, credential agree) and in force. In: the answer and what was asked. Out: values, or a MeshError.
 */
import {
  extendedKeyUsageOf,
  isCa,
  OID,
  parseCertificate,
  sameBytes,
  serialHex,
  soleUri,
  workloadUidOf,
} from '../../../common/certificate.ts'
import { DerError } from '../../../common/der.ts'
import { MeshError } from '../../../common/errors.ts'
import { controllerSpiffeId, parseSpiffeId } from '../../../common/spiffe-id.ts'
import { findPathFault, isRootOf } from './controller-trust.ts'

/** As it came, all of it unchecked. */
export interface AttestAnswer {
  readonly certificateChain: readonly Uint8Array[]
  readonly trustBundle: readonly Uint8Array[]
  readonly credential: Uint8Array
  readonly spiffeId: string
  readonly workload: { readonly namespace: string; readonly name: string; readonly uid: string }
}

export interface Asked {
  /** SubjectPublicKeyInfo of the new SVID and of the credential, DER. */
  readonly publicKey: Uint8Array
  /** Undefined: a pod has no credential. */
  readonly credentialKey: Uint8Array | undefined
  readonly trustDomain: string
  /** On a credential's use: the UID that it is bound to. A pod's: its own. */
  readonly workloadUid: string | undefined
  /** What a pod asks to be. Undefined: whatever the proof stands for. */
  readonly self?: { readonly namespace: string; readonly name: string; readonly spiffeId: string }
  readonly nowMs: number
}

export interface CheckedAnswer extends AttestAnswer {
  /** Lower-case hex. */
  readonly serialNumber: string
  readonly notBeforeMs: number
  readonly notAfterMs: number
}

const NAME = /^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$/
const MAX_ROOTS = 16
const MAX_CHAIN = 4

/** Throws ERR_CONTROLLER_UNTRUSTED. */
export function checkAnswer(answer: AttestAnswer, asked: Asked): CheckedAnswer {
  try {
    const leaf = parseCertificate(answer.certificateChain[0] ?? new Uint8Array())
    const faults = [
      ...findLeafFaults(answer, asked),
      ...findBundleFaults(answer, asked),
      ...findCredentialFaults(answer, asked),
    ]
    if (faults.length > 0) throw untrusted(faults.join(', '))
    const { notBeforeMs, notAfterMs } = leaf
    return { ...answer, serialNumber: serialHex(leaf), notBeforeMs, notAfterMs }
  } catch (error) {
    if (error instanceof DerError) throw untrusted(error.message)
    throw error
  }
}

function findLeafFaults(answer: AttestAnswer, asked: Asked): string[] {
  const leaf = parseCertificate(answer.certificateChain[0] ?? new Uint8Array())
  const { workload, spiffeId } = answer
  const { self = { ...workload, spiffeId } } = asked
  const identity = parseSpiffeId(spiffeId)
  const usage = extendedKeyUsageOf(leaf)
  return failing([
    ['the certificate has another key', sameBytes(leaf.publicKey, asked.publicKey)],
    ['the certificate is a CA', !isCa(leaf)],
    ['the certificate has another SPIFFE id', soleUri(leaf) === spiffeId],
    ['the SPIFFE id is of another trust domain', identity?.trustDomain === asked.trustDomain],
    ['the SPIFFE id is reserved', spiffeId !== controllerSpiffeId(asked.trustDomain)],
    ['the certificate has another uid', workloadUidOf(leaf) === workload.uid],
    [
      'the uid is not the one that was proved',
      (asked.workloadUid ?? workload.uid) === workload.uid,
    ],
    ['the identity is another pod’s', spiffeId === self.spiffeId],
    [
      'the workload is another pod',
      workload.namespace === self.namespace && workload.name === self.name,
    ],
    ['the namespace is no name', NAME.test(workload.namespace)],
    ['the name is no name', NAME.test(workload.name)],
    [
      'the certificate is not for client and server',
      usage.includes(OID.serverAuth) && usage.includes(OID.clientAuth),
    ],
  ])
}

function findBundleFaults(answer: AttestAnswer, asked: Asked): string[] {
  const { certificateChain, trustBundle } = answer
  const paths = trustBundle.map((root) => findPathFault([...certificateChain, root], asked.nowMs))
  const faults = failing([
    ['the trust bundle is of a wrong size', inRange(trustBundle.length, MAX_ROOTS)],
    ['the chain is of a wrong length', inRange(certificateChain.length, MAX_CHAIN)],
    ['a root is of another trust domain', trustBundle.every((r) => isRootOf(r, asked.trustDomain))],
  ])
  return paths.includes(undefined) || faults.length > 0
    ? faults
    : [`the certificate chain is not good: ${paths[0] ?? 'it has no root'}`]
}

function findCredentialFaults(answer: AttestAnswer, asked: Asked): string[] {
  if (asked.credentialKey === undefined)
    return failing([
      ['there is a credential that nobody asked for', answer.credential.length === 0],
    ])
  const credential = parseCertificate(answer.credential)
  return failing([
    ['the credential has another key', sameBytes(credential.publicKey, asked.credentialKey)],
    ['the credential has another uid', workloadUidOf(credential) === answer.workload.uid],
  ])
}

function inRange(count: number, max: number): boolean {
  return count > 0 && count <= max
}

function failing(checks: readonly (readonly [string, boolean])[]): string[] {
  return checks.filter(([, holds]) => !holds).map(([fault]) => fault)
}

function untrusted(fault: string): MeshError {
  const message = `the controller's answer is refused: ${fault}`
  return new MeshError('ERR_CONTROLLER_UNTRUSTED', message, { retry: 'backoff' })
}
