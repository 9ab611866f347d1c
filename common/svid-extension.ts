/**
 * The workload's UID in an SVID (DESIGN §3): many workloads share a SPIFFE id, the UID tells them apart.
 * It stands in the standard, always non-critical extension subjectDirectoryAttributes, as attribute uniqueIdentifier.
 * Not in an own extension under a UUID arc (2.25.x): Go's X.509 parser refuses certificates with arcs of more than
 * 31 bits (tried), so that no Go program could read our SVIDs; and an arc under 1.3.6.1.4.1 would need registration.
 * Source: RFC 5280 §4.2.1.8 (extension), RFC 4524 §2.24 (attribute).
 */
import { DerError, readChildren, readDer, readOid, readText, TAG } from './der.ts'
import { oid, sequence, setOfOne, utf8String } from './der-write.ts'

/** subjectDirectoryAttributes. */
export const UID_EXTENSION_OID = '2.5.29.9'
/** uniqueIdentifier. */
export const UID_ATTRIBUTE_OID = '0.9.2342.19200300.100.1.44'

/** UID in the controller's own SVID; no workload has it. */
export const CONTROLLER_UID = 'controller'

const UID = /^[A-Za-z0-9._-]{1,128}$/

/** Whether `text` can be a UID: 1 to 128 letters, digits, dots, dashes and underscores. */
export function isWorkloadUid(text: string): boolean {
  return UID.test(text)
}

/** The extension's value (the content of its OCTET STRING). */
export function encodeUidExtension(uid: string): Uint8Array {
  if (!isWorkloadUid(uid)) throw new DerError('not a workload uid')
  return sequence(sequence(oid(UID_ATTRIBUTE_OID), setOfOne(utf8String(uid))))
}

/** The UID in an extension's value. Throws DerError unless there is exactly one, well-formed. */
export function decodeUidExtension(value: Uint8Array): string {
  const attributes = readChildren(readDer(value), TAG.sequence)
  const [attribute, ...more] = attributes
  if (attribute === undefined || more.length > 0) throw new DerError('not exactly one attribute')
  const [type, values, ...rest] = readChildren(attribute, TAG.sequence)
  if (rest.length > 0 || readOid(type) !== UID_ATTRIBUTE_OID)
    throw new DerError('not a uniqueIdentifier attribute')
  const [text, ...others] = readChildren(values, TAG.set)
  if (others.length > 0 || text?.tag !== TAG.utf8String) throw new DerError('not one UTF8String')
  const uid = readText(text)
  if (!isWorkloadUid(uid)) throw new DerError('not a workload uid')
  return uid
}
