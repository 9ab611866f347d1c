/** Certificates are read strictly: one reading, or none. */
import t from 'tap'
import {
  extendedKeyUsageOf,
  isCa,
  keyUsageOf,
  OID,
  parseCertificate,
  parseExtensionList,
  parseSubjectAltName,
  sameBytes,
  serialHex,
  soleUri,
  workloadUidOf,
} from '../../../common/certificate.ts'
import { DerError, readDer } from '../../../common/der.ts'
import {
  boolean,
  der,
  implicit,
  octetString,
  oid,
  sequence,
  tagged,
  unsignedInteger,
} from '../../../common/der-write.ts'
import { makeCa, makeSvid } from '../../kit/identity.ts'

const ca = await makeCa()
const svid = await makeSvid(ca)
const text = (value: string) => new TextEncoder().encode(value)

t.test('reads what it needs', async (t) => {
  const certificate = parseCertificate(svid.der)
  t.equal(soleUri(certificate), 'spiffe://shop.example/ns/shop/sa/web')
  t.equal(workloadUidOf(certificate), 'uid-web')
  t.equal(serialHex(certificate), svid.serialNumber)
  t.equal(isCa(certificate), false)
  t.same(extendedKeyUsageOf(certificate), [OID.serverAuth, OID.clientAuth])
  const root = parseCertificate(ca.root.der)
  t.equal(workloadUidOf(root), undefined)
  t.same(extendedKeyUsageOf(root), [])
})

t.test('says nothing of what is not there', async (t) => {
  const none = { ...parseCertificate(svid.der), extensions: new Map() }
  t.equal(soleUri(none), undefined)
  t.equal(isCa(none), false)
  t.same([...keyUsageOf(none)], [])
})

t.test('a serial number is shown without its sign byte', async (t) => {
  const certificate = parseCertificate(svid.der)
  const hex = (...bytes: number[]) =>
    serialHex({ ...certificate, serialNumber: Uint8Array.from(bytes) })
  t.equal(hex(0, 0x80, 1), '8001')
  t.equal(hex(0), '00')
})

t.test('refuses two readings', async (t) => {
  const extension = sequence(oid(OID.keyUsage), octetString(sequence()))
  t.throws(() => parseExtensionList(readDer(sequence(extension, extension))), DerError)
  t.throws(() => parseExtensionList(readDer(sequence(sequence(oid(OID.keyUsage))))), DerError)
  const four = sequence(oid(OID.keyUsage), boolean(true), octetString(sequence()), boolean(true))
  t.throws(() => parseExtensionList(readDer(sequence(four))), DerError)
})

t.test('names other than URIs are counted, not read', async (t) => {
  const san = sequence(implicit(6, text('spiffe://a/b')), implicit(2, text('dns.example')))
  t.same(parseSubjectAltName(san), { uris: ['spiffe://a/b'], others: 1 })
  const certificate = parseCertificate(svid.der)
  const extensions = new Map([[OID.subjectAltName, { critical: false, value: san }]])
  t.equal(soleUri({ ...certificate, extensions }), undefined)
})

t.test('refuses what is no v3 certificate', async (t) => {
  const parts = [...Array(7)].map(() => sequence())
  const algorithm = sequence(oid(OID.ecdsaWithSha256))
  const outer = (tbs: Uint8Array) => sequence(tbs, algorithm, der(3, Uint8Array.of(0, 1)))
  const cases = {
    empty: new Uint8Array(),
    'too large': sequence(new Uint8Array(17_000)),
    'without signature': sequence(sequence()),
    'of version 1': outer(sequence(tagged(0, unsignedInteger(Uint8Array.of(0))), ...parts)),
    'cut off': svid.der.subarray(0, -1),
    'with bytes behind it': Buffer.concat([svid.der, Buffer.of(0)]),
  }
  for (const [name, bytes] of Object.entries(cases))
    t.throws(() => parseCertificate(bytes), DerError, name)
})

t.test('compares bytes', async (t) => {
  t.ok(sameBytes(Uint8Array.of(1, 2), Uint8Array.of(1, 2)))
  t.notOk(sameBytes(Uint8Array.of(1, 2), Uint8Array.of(1, 3)))
  t.notOk(sameBytes(Uint8Array.of(1), Uint8Array.of(1, 3)))
  t.notOk(sameBytes(undefined, undefined))
})
