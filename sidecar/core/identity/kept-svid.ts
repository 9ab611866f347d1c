/**
 * A pod's SVID with its key as text (JSON), for a memory volume that only its sidecar mounts: it outlives a restart of
 * the container, not the pod. What is read back is checked as if the controller had just answered it, and against the
 * roots that are mounted now. In: an SVID, or the text. Out: the other; undefined for a text that is no more good.
 */
import { MeshError } from '../../../common/errors.ts'
import { Secret } from '../../../common/secret.ts'
import type { Svid } from '../../ports.ts'
import { type Asked, type AttestAnswer, checkAnswer } from './answer.ts'
import { findPathFault } from './controller-trust.ts'

const VERSION = 1

export interface KeptSvid {
  readonly answer: AttestAnswer
  /** PKCS#8, PEM. */
  readonly key: Secret<string>
}

export function formatKeptSvid(svid: Svid, key: Secret<string>): Secret<string> {
  const { workload, spiffeId, certificateChain, trustBundle } = svid
  const document = {
    version: VERSION,
    workload,
    spiffeId,
    certificateChain: certificateChain.map(toBase64),
    trustBundle: trustBundle.map(toBase64),
    key: key.reveal(),
  }
  return new Secret(`${JSON.stringify(document)}\n`)
}

export function parseKeptSvid(text: Secret<string>): KeptSvid | undefined {
  let document: Readonly<Record<string, unknown>>
  try {
    document = JSON.parse(text.reveal()) as typeof document
  } catch {
    return undefined
  }
  const { version, workload, spiffeId, certificateChain, trustBundle, key } = document ?? {}
  if (version !== VERSION || typeof spiffeId !== 'string' || typeof key !== 'string')
    return undefined
  const { namespace, name, uid } = (workload ?? {}) as Readonly<Record<string, unknown>>
  if (!isText(namespace) || !isText(name) || !isText(uid)) return undefined
  if (!isTexts(certificateChain) || !isTexts(trustBundle)) return undefined
  const answer = {
    workload: { namespace, name, uid },
    spiffeId,
    certificateChain: certificateChain.map(fromBase64),
    trustBundle: trustBundle.map(fromBase64),
    credential: new Uint8Array(),
  }
  return { answer, key: new Secret(key) }
}

/** Whether it is still good, for this pod, under one of these roots. */
export function isKeptGood(
  { answer }: KeptSvid,
  asked: Asked,
  roots: readonly Uint8Array[],
): boolean {
  try {
    checkAnswer(answer, asked)
  } catch (error) {
    if (error instanceof MeshError) return false
    throw error
  }
  const faults = roots.map((root) => findPathFault([...answer.certificateChain, root], asked.nowMs))
  return faults.includes(undefined)
}

function isText(value: unknown): value is string {
  return typeof value === 'string'
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every(isText)
}

function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64')
}

function fromBase64(text: string): Uint8Array {
  return Buffer.from(text, 'base64')
}
