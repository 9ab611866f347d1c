/**
 * Checks a certificate that this CA just signed, before anybody sees it: product, template and issuer in; faults out.
 * Reads it back with two parsers (ours and OpenSSL's in node:crypto) and compares every field that a peer relies on.
 * Source: SPIRE `credvalidator`; X509-SVID §4, §5; RFC 5280 §6.1.
 */
import { createPublicKey, X509Certificate } from 'node:crypto'
import {
  type Certificate,
  extendedKeyUsageOf,
  isCa,
  keyUsageOf,
  OID,
  parseCertificate,
  parseSubjectAltName,
  sameBytes,
  workloadUidOf,
} from '../../../common/certificate.ts'
import { contentOf, readChildren, readDer, TAG } from '../../../common/der.ts'
import { UID_EXTENSION_OID } from '../../../common/svid-extension.ts'
import { type CertificateTemplate, type Issuer, keyIdentifier } from './template.ts'

/** Lower-case sentences, one for each fault; empty: the certificate says what the template says, and no more. */
export function findFaults(
  der: Uint8Array,
  template: CertificateTemplate,
  issuer: Issuer,
): readonly string[] {
  try {
    const product = parseCertificate(der)
    const checks = [
      ...fieldChecks(product, template),
      ...lifetimeChecks(product, issuer),
      ...extensionChecks(product, template, issuer),
      ...opensslChecks(der, template, issuer),
    ]
    return checks.filter(([, holds]) => !holds).map(([name]) => `${name} is wrong`)
  } catch (error) {
    return [`the product cannot be read back: ${String(error)}`]
  }
}

type Check = readonly [name: string, holds: boolean]

function fieldChecks(product: Certificate, template: CertificateTemplate): Check[] {
  return [
    ['serial number', sameBytes(product.serialNumber, template.serialNumber)],
    ['serial number length', product.serialNumber.length === 16],
    ['serial number sign', (product.serialNumber[0] ?? 0xff) < 0x80],
    ['issuer', sameBytes(product.issuer, template.issuer)],
    ['subject', sameBytes(product.subject, template.subject)],
    ['notBefore', product.notBeforeMs === template.notBeforeMs],
    ['notAfter', product.notAfterMs === template.notAfterMs],
    ['public key', sameBytes(product.publicKey, template.publicKey)],
    ['signature algorithm', product.signatureAlgorithm === OID.ecdsaWithSha256],
  ]
}

function lifetimeChecks(product: Certificate, issuer: Issuer): Check[] {
  return [
    ['lifetime', product.notAfterMs > product.notBeforeMs],
    ['start before the issuer', product.notBeforeMs >= issuer.notBeforeMs],
    ['end after the issuer', product.notAfterMs <= issuer.notAfterMs],
  ]
}

function extensionChecks(
  product: Certificate,
  template: CertificateTemplate,
  issuer: Issuer,
): Check[] {
  const san = product.extensions.get(OID.subjectAltName)
  const names = san === undefined ? undefined : parseSubjectAltName(san.value)
  const { uri, dnsNames = [] } = template
  const hasNames = uri !== undefined || dnsNames.length > 0
  const wanted = hasNames
    ? { uris: uri === undefined ? [] : [uri], others: dnsNames.length }
    : undefined
  const usage = [...keyUsageOf(product)]
  const expected = [
    OID.basicConstraints,
    OID.keyUsage,
    OID.subjectKeyIdentifier,
    OID.authorityKeyIdentifier,
    ...(template.extendedKeyUsage.length > 0 ? [OID.extendedKeyUsage] : []),
    ...(hasNames ? [OID.subjectAltName] : []),
    ...(template.workloadUid === undefined ? [] : [UID_EXTENSION_OID]),
  ]
  return [
    ['set of extensions', sameList([...product.extensions.keys()].sort(), [...expected].sort())],
    ['basicConstraints', isCa(product) === template.isCa],
    ['basicConstraints criticality', isCritical(product, OID.basicConstraints)],
    ['keyUsage', sameList(usage, template.keyUsage)],
    ['keyUsage criticality', isCritical(product, OID.keyUsage)],
    ['extendedKeyUsage', sameList(extendedKeyUsageOf(product), template.extendedKeyUsage)],
    ['subjectAltName', JSON.stringify(names) === JSON.stringify(wanted)],
    ['subjectAltName criticality', san === undefined || san.critical === isEmpty(product.subject)],
    ['workload uid', workloadUidOf(product) === template.workloadUid],
    ['workload uid criticality', !isCritical(product, UID_EXTENSION_OID)],
    ['subject key identifier', sameBytes(subjectKeyId(product), keyIdentifier(product.publicKey))],
    [
      'authority key identifier',
      sameBytes(authorityKeyId(product), keyIdentifier(issuer.publicKey)),
    ],
  ]
}

function opensslChecks(der: Uint8Array, template: CertificateTemplate, issuer: Issuer): Check[] {
  const product = new X509Certificate(der)
  const issuerKey = createPublicKey({
    key: Buffer.from(issuer.publicKey),
    format: 'der',
    type: 'spki',
  })
  const { uri, dnsNames = [] } = template
  const names = [...(uri === undefined ? [] : [`URI:${uri}`]), ...dnsNames.map((n) => `DNS:${n}`)]
  const san = names.length === 0 ? undefined : names.join(', ')
  const usage = template.extendedKeyUsage.length === 0 ? undefined : template.extendedKeyUsage
  return [
    ['signature', product.verify(issuerKey)],
    ['CA flag as OpenSSL reads it', product.ca === template.isCa],
    ['subjectAltName as OpenSSL reads it', product.subjectAltName === san],
    ['extendedKeyUsage as OpenSSL reads it', sameList(product.keyUsage ?? [], usage ?? [])],
    ['notAfter as OpenSSL reads it', product.validToDate.getTime() === template.notAfterMs],
    ['notBefore as OpenSSL reads it', product.validFromDate.getTime() === template.notBeforeMs],
  ]
}

function isCritical(certificate: Certificate, id: string): boolean {
  return certificate.extensions.get(id)?.critical === true
}

function isEmpty(name: Uint8Array): boolean {
  return name.length === 2
}

function subjectKeyId(certificate: Certificate): Uint8Array | undefined {
  const extension = certificate.extensions.get(OID.subjectKeyIdentifier)
  return extension && contentOf(readDer(extension.value), TAG.octetString)
}

function authorityKeyId(certificate: Certificate): Uint8Array | undefined {
  const extension = certificate.extensions.get(OID.authorityKeyIdentifier)
  return extension && contentOf(readChildren(readDer(extension.value), TAG.sequence)[0], 0x80)
}

function sameList<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i])
}
