/** Certificates as signed: every field is what X509-SVID asks for, seen through OpenSSL as well. */
import { createPublicKey, randomBytes, X509Certificate } from 'node:crypto'
import t from 'tap'
import {
  isCa,
  keyUsageOf,
  OID,
  parseCertificate,
  soleUri,
  workloadUidOf,
} from '../../../../../common/certificate.ts'
import { issueCertificate } from '../../../../../controller/core/ca/issue.ts'
import { assembleCertificate, buildTbs } from '../../../../../controller/core/ca/tbs.ts'
import {
  attestationRootTemplate,
  BACKDATE_MS,
  CREDENTIAL_LIFETIME_MS,
  commonName,
  credentialTemplate,
  issuerOf,
  serialFrom,
  svidTemplate,
} from '../../../../../controller/core/ca/template.ts'
import { findFaults } from '../../../../../controller/core/ca/validate.ts'
import { makeCa, makeKey, makeSvid } from '../../../../kit/identity.ts'

const NOW = Date.parse('2026-11-24T08:00:00Z')

t.test('a root says who it is and that it signs', async (t) => {
  const ca = await makeCa({ nowMs: NOW })
  const root = parseCertificate(ca.root.der)
  const openssl = new X509Certificate(ca.root.der)
  t.equal(openssl.subject, 'CN=Postern root shop.example')
  t.equal(openssl.subjectAltName, 'URI:spiffe://shop.example')
  t.ok(openssl.verify(openssl.publicKey), 'verifies itself')
  t.ok(openssl.checkIssued(openssl))
  t.equal(openssl.ca, true)
  t.same([...keyUsageOf(root)], [5, 6])
  t.equal(root.notBeforeMs, NOW - BACKDATE_MS)
  t.equal(root.notAfterMs, NOW + 315_360_000_000)
})

t.test('an SVID has one URI, both usages, its UID and no CA flag', async (t) => {
  const ca = await makeCa({ nowMs: NOW })
  const svid = await makeSvid(ca, { workloadUid: 'uid-1', lifetimeSeconds: 20 })
  const openssl = new X509Certificate(svid.der)
  const parsed = parseCertificate(svid.der)
  t.equal(openssl.subjectAltName, 'URI:spiffe://shop.example/ns/shop/sa/web')
  t.equal(openssl.subject, undefined, 'the subject is empty')
  t.equal(parsed.extensions.get(OID.subjectAltName)?.critical, true)
  t.equal(openssl.ca, false)
  t.same(openssl.keyUsage, [OID.serverAuth, OID.clientAuth])
  t.same([...keyUsageOf(parsed)], [0])
  t.equal(workloadUidOf(parsed), 'uid-1')
  t.ok(openssl.checkIssued(new X509Certificate(ca.root.der)))
  t.ok(openssl.verify(new X509Certificate(ca.root.der).publicKey))
  t.same(openssl.publicKey.export({ format: 'der', type: 'spki' }), Buffer.from(svid.key.publicKey))
  t.equal(svid.notAfterMs, NOW + 20_000)
  t.equal(svid.notBeforeMs, NOW - BACKDATE_MS)
  t.equal(openssl.serialNumber.toLowerCase(), svid.serialNumber)
  t.equal(svid.serialNumber.length, 32)
})

t.test('an SVID never outlives cap or issuer', async (t) => {
  const ca = await makeCa({ nowMs: NOW })
  const base = {
    serialNumber: serialFrom(randomBytes(16)),
    publicKey: makeKey().publicKey,
    identity: { trustDomain: 'shop.example', namespace: 'shop', serviceAccount: 'web' },
    workloadUid: 'u',
    lifetimeSeconds: 86_400,
    maxLifetimeSeconds: 600,
  }
  t.equal(svidTemplate(ca.issuer, { ...base, nowMs: NOW }).notAfterMs, NOW + 600_000, 'the cap')
  const nearEnd = ca.root.notAfterMs - 5_000
  const late = svidTemplate(ca.issuer, { ...base, nowMs: nearEnd })
  t.equal(late.notAfterMs, ca.root.notAfterMs, 'the end of the issuer')
  const early = svidTemplate(ca.issuer, { ...base, nowMs: NOW - BACKDATE_MS })
  t.equal(early.notBeforeMs, ca.root.notBeforeMs, 'the start of the issuer')
})

t.test('a credential names a UID and no SPIFFE id', async (t) => {
  const key = makeKey()
  const ca = await makeCa({ nowMs: NOW })
  const template = attestationRootTemplate({
    serialNumber: serialFrom(randomBytes(16)),
    publicKey: ca.signer.publicKey,
    nowMs: NOW,
    trustDomain: 'shop.example',
    lifetimeSeconds: 315_360_000,
  })
  const issuer = issuerOf(template)
  const attestationRoot = await issueCertificate(template, issuer, ca.signer)
  t.equal(new X509Certificate(attestationRoot.der).subjectAltName, undefined)
  const credential = await issueCertificate(
    credentialTemplate(issuer, {
      serialNumber: serialFrom(randomBytes(16)),
      publicKey: key.publicKey,
      nowMs: NOW,
      workloadUid: 'uid-1',
    }),
    issuer,
    ca.signer,
  )
  const parsed = parseCertificate(credential.der)
  t.equal(soleUri(parsed), undefined)
  t.equal(workloadUidOf(parsed), 'uid-1')
  t.equal(isCa(parsed), false)
  t.equal(credential.notAfterMs, NOW + CREDENTIAL_LIFETIME_MS)
})

t.test('serial numbers are positive and of 16 bytes whatever the randomness', async (t) => {
  for (const byte of [0x00, 0x7f, 0x80, 0xff]) {
    const serial = serialFrom(new Uint8Array(16).fill(byte))
    t.ok(serial[0] !== undefined && serial[0] > 0 && serial[0] < 0x80)
    t.equal(serial.length, 16)
  }
  t.throws(() => serialFrom(new Uint8Array(8)), RangeError)
})

t.test('a long trust domain is cut in the name and whole in the URI', async (t) => {
  const trustDomain = `${'a'.repeat(200)}.example`
  const ca = await makeCa({ nowMs: NOW, trustDomain })
  t.equal(new X509Certificate(ca.root.der).subjectAltName, `URI:spiffe://${trustDomain}`)
  t.equal(commonName('x'.repeat(100)).length, commonName('x'.repeat(64)).length)
})

t.test('nothing is handed out that differs from its template', async (t) => {
  const ca = await makeCa({ nowMs: NOW })
  const svid = await makeSvid(ca)
  t.same(findFaults(svid.der, svid.template, ca.issuer), [])
  const others: Record<string, object> = {
    'serial number': { serialNumber: serialFrom(randomBytes(16)) },
    subject: { subject: commonName('x') },
    notAfter: { notAfterMs: svid.notAfterMs + 1000 },
    notBefore: { notBeforeMs: svid.notBeforeMs + 1000 },
    'public key': { publicKey: makeKey().publicKey },
    subjectAltName: { uri: 'spiffe://shop.example/ns/shop/sa/other' },
    'workload uid': { workloadUid: 'other' },
    keyUsage: { keyUsage: [5] },
    extendedKeyUsage: { extendedKeyUsage: [OID.clientAuth] },
    basicConstraints: { isCa: true },
    'set of extensions': { extendedKeyUsage: [] },
  }
  for (const [field, change] of Object.entries(others)) {
    const faults = findFaults(svid.der, { ...svid.template, ...change }, ca.issuer)
    t.ok(faults.includes(`${field} is wrong`), `${field}: ${faults.join(', ')}`)
  }
  const short = { ...ca.issuer, notAfterMs: svid.notAfterMs - 1000 }
  t.match(findFaults(svid.der, svid.template, short), ['end after the issuer is wrong'])
  t.match(findFaults(Buffer.from('x'), svid.template, ca.issuer), [/cannot be read back/])
})

t.test('a signer that signs with another key is found out', async (t) => {
  const ca = await makeCa({ nowMs: NOW })
  const { template } = await makeSvid(ca)
  const stranger = {
    publicKey: ca.signer.publicKey,
    sign: async (b: Uint8Array) => makeKey().sign(b),
  }
  await t.rejects(issueCertificate(template, ca.issuer, stranger), {
    code: 'ERR_INTERNAL',
    message: /signature is wrong/,
  })
  const broken = { publicKey: ca.signer.publicKey, sign: () => Promise.reject(new Error('gone')) }
  await t.rejects(issueCertificate(template, ca.issuer, broken), { code: 'ERR_CA_NOT_READY' })
})

t.test('a certificate with a changed byte is refused or differs', async (t) => {
  const ca = await makeCa({ nowMs: NOW })
  const svid = await makeSvid(ca)
  const rootKey = createPublicKey(
    new X509Certificate(ca.root.der).publicKey.export({ format: 'pem', type: 'spki' }),
  )
  t.ok(
    new X509Certificate(
      assembleCertificate(buildTbs(svid.template), parseCertificate(svid.der).signature),
    ).verify(rootKey),
  )
  for (let i = 0; i < svid.der.length; i++) {
    const mutated = Uint8Array.from(svid.der)
    mutated[i] = (mutated[i] ?? 0) ^ 0x01
    if (findFaults(mutated, svid.template, ca.issuer).length === 0) t.fail(`byte ${i} may change`)
  }
})
