/** CSRs: P-256 with its own signature and at most one URI; everything else is refused or ignored, never a crash. */
import { createPublicKey, generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import t from 'tap'
import { OID } from '../../../../../common/certificate.ts'
import {
  bitString,
  boolean,
  implicit,
  octetString,
  oid,
  sequence,
  setOfOne,
  tagged,
  unsignedInteger,
  utf8String,
} from '../../../../../common/der-write.ts'
import { MeshError } from '../../../../../common/errors.ts'
import { MAX_CSR_BYTES, parseCsr } from '../../../../../controller/core/ca/csr.ts'
import { commonName } from '../../../../../controller/core/ca/template.ts'
import { makeCsr, makeKey, type TestKey } from '../../../../kit/identity.ts'

const key = makeKey()
const uri = 'spiffe://shop.example/ns/shop/sa/web'
const invalid = (message: RegExp) => ({ code: 'ERR_CSR_INVALID', message })
const text = (value: string) => new TextEncoder().encode(value)

/** A request built by hand, signed rightly. */
function custom(
  parts: {
    publicKey?: Uint8Array
    version?: number
    subject?: Uint8Array
    attributes?: Uint8Array[]
    algorithm?: Uint8Array
  },
  by: TestKey = key,
) {
  const info = sequence(
    unsignedInteger(Uint8Array.of(parts.version ?? 0)),
    parts.subject ?? sequence(),
    parts.publicKey ?? by.publicKey,
    tagged(0, ...(parts.attributes ?? [])),
  )
  const algorithm = parts.algorithm ?? sequence(oid(OID.ecdsaWithSha256))
  return sequence(info, algorithm, bitString(by.sign(info)))
}
const attribute = (id: string, value: Uint8Array) => sequence(oid(id), setOfOne(value))
const san = (...names: Uint8Array[]) =>
  sequence(oid(OID.subjectAltName), octetString(sequence(...names)))
const request = (...extensions: Uint8Array[]) =>
  attribute(OID.extensionRequest, sequence(...extensions))

t.test('takes the key, the one URI and the challengePassword', async (t) => {
  t.same(parseCsr(makeCsr(key)), {
    publicKey: key.publicKey,
    uri: undefined,
    challengePassword: undefined,
  })
  t.match(parseCsr(makeCsr(key, { uri, challengePassword: 'abc' })), {
    uri,
    challengePassword: 'abc',
  })
})

t.test('ignores subject, other extensions and other attributes', async (t) => {
  const basic = sequence(
    oid(OID.basicConstraints),
    boolean(true),
    octetString(sequence(boolean(true))),
  )
  const csr = custom({
    subject: commonName('admin'),
    attributes: [
      request(basic, san(implicit(6, text(uri)))),
      attribute('1.2.3.4', utf8String('x')),
    ],
  })
  t.same(parseCsr(csr), { publicKey: key.publicKey, uri, challengePassword: undefined })
})

t.test('refuses other names than one URI', async (t) => {
  const twice = custom({
    attributes: [request(san(implicit(6, text(uri)), implicit(6, text(uri))))],
  })
  t.throws(() => parseCsr(twice), invalid(/exactly one URI/))
  const withDns = custom({
    attributes: [request(san(implicit(6, text(uri)), implicit(2, text('x'))))],
  })
  t.throws(() => parseCsr(withDns), invalid(/exactly one URI/))
  t.throws(() => parseCsr(custom({ attributes: [request(san())] })), invalid(/exactly one URI/))
  const nul = custom({ attributes: [request(san(implicit(6, text('spiffe://a\0b'))))] })
  t.throws(() => parseCsr(nul), invalid(/not ASCII/))
})

t.test('refuses what stands twice', async (t) => {
  const one = san(implicit(6, text(uri)))
  t.throws(() => parseCsr(custom({ attributes: [request(one, one)] })), invalid(/twice/))
  t.throws(() => parseCsr(custom({ attributes: [request(one), request(one)] })), invalid(/twice/))
})

t.test('refuses other keys and algorithms', async (t) => {
  const p384 = generateKeyPairSync('ec', { namedCurve: 'secp384r1' })
  const spki384 = createPublicKey(p384.privateKey).export({ format: 'der', type: 'spki' })
  const by384 = {
    ...key,
    publicKey: spki384,
    sign: (b: Uint8Array) => sign('sha256', b, p384.privateKey),
  }
  t.throws(() => parseCsr(custom({}, by384)), invalid(/P-256/))
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const spkiRsa = createPublicKey(rsa.privateKey).export({ format: 'der', type: 'spki' })
  t.throws(() => parseCsr(custom({ publicKey: spkiRsa })), invalid(/.*/))
  const sha384 = sequence(oid('1.2.840.10045.4.3.3'))
  t.throws(() => parseCsr(custom({ algorithm: sha384 })), invalid(/another algorithm/))
  t.throws(() => parseCsr(custom({ version: 1 })), invalid(/unknown version/))
})

t.test('refuses a point that is not on the curve, or compressed', async (t) => {
  const point = Buffer.from(key.publicKey.subarray(-65))
  const algorithm = sequence(oid(OID.ecPublicKey), oid(OID.prime256v1))
  const off = Buffer.from(point)
  off[64] = (off[64] ?? 0) ^ 1
  t.throws(
    () => parseCsr(custom({ publicKey: sequence(algorithm, bitString(off)) })),
    invalid(/point/),
  )
  const compressed = Buffer.concat([Buffer.of(2 + ((point[64] ?? 0) & 1)), point.subarray(1, 33)])
  t.throws(
    () => parseCsr(custom({ publicKey: sequence(algorithm, bitString(compressed)) })),
    invalid(/uncompressed/),
  )
})

t.test('refuses a self-signature by another key', async (t) => {
  const other = makeKey()
  const csr = custom({ publicKey: other.publicKey })
  t.throws(() => parseCsr(csr), invalid(/self-signature/))
})

t.test('refuses more than its bound before it reads anything', async (t) => {
  t.throws(() => parseCsr(new Uint8Array(MAX_CSR_BYTES + 1)), invalid(/more than/))
})

t.test('mutated bytes: refused, or a CSR that means the same key (never a crash)', async (t) => {
  const good = makeCsr(key, { uri, challengePassword: 'abc' })
  let accepted = 0
  const tryOne = (bytes: Uint8Array) => {
    try {
      parseCsr(bytes)
      accepted++
    } catch (error) {
      if (!(error instanceof MeshError) || error.code !== 'ERR_CSR_INVALID') throw error
    }
  }
  for (let i = 0; i < good.length; i++) {
    for (const flip of [0x01, 0x80, 0xff]) {
      const mutated = Uint8Array.from(good)
      mutated[i] = (mutated[i] ?? 0) ^ flip
      tryOne(mutated)
    }
    tryOne(good.subarray(0, i))
  }
  t.equal(accepted, 0, 'the self-signature covers every byte that counts')
  for (let i = 0; i < 500; i++) tryOne(randomBytes(i))
  for (let i = 0; i < 500; i++)
    tryOne(Buffer.concat([Buffer.of(0x30, 0x82, 0x01, 0x00), randomBytes(256)]))
  t.equal(accepted, 0)
})
