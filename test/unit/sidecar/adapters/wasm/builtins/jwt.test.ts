import {
  constants,
  createHmac,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
} from 'node:crypto'
import t from 'tap'
import { builtins } from '../../../../../../sidecar/adapters/wasm/builtins/all.ts'

/** OPA's Envoy tutorial (standalone): role guest, signed with HS256 and `secret`. */
const ALICE =
  'eyJhbGciOiAiSFMyNTYiLCAidHlwIjogIkpXVCJ9.eyJleHAiOiAyMjQxMDgxNTM5LCAibmJmIjogMTUxNDg1MTEzOSwgInJvbGUiOiAiZ3Vlc3QiLCAic3ViIjogIllXeHBZMlU9In0.Uk5hgUqMuUfDLvBLnlXMD0-X53aM_Hlziqg3vhOsCc8'
const HEADER = { alg: 'HS256', typ: 'JWT' }
const CLAIMS = { exp: 2_241_081_539, nbf: 1_514_851_139, role: 'guest', sub: 'YWxpY2U=' }
const NOW = { nowNs: 1_700_000_000_000_000_000n }

function call(name: string, ...operands: readonly unknown[]): unknown {
  return JSON.parse(JSON.stringify(builtins.get(name)?.(NOW, ...operands)))
}

function encode(value: unknown): string {
  return Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString(
    'base64url',
  )
}

type Signer = (signed: Buffer) => Uint8Array

function token(header: object, claims: unknown, signer: Signer): string {
  const signed = `${encode(header)}.${encode(claims)}`
  return `${signed}.${Buffer.from(signer(Buffer.from(signed))).toString('base64url')}`
}

const hs =
  (secret: string, hash = 'sha256'): Signer =>
  (b) =>
    createHmac(hash, secret).update(b).digest()
const none: Signer = () => new Uint8Array()

function pem(key: KeyObject): string {
  return key.export({ type: 'spki', format: 'pem' }).toString()
}

function jwks(...keys: object[]): string {
  return JSON.stringify({ keys })
}

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const otherRsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' })
const ed = generateKeyPairSync('ed25519')

const rs =
  (hash: string, key = rsa.privateKey): Signer =>
  (b) =>
    sign(hash, b, key)
const ps =
  (hash: string): Signer =>
  (b) =>
    sign(hash, b, { key: rsa.privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 })
const es =
  (hash: string, key: KeyObject): Signer =>
  (b) =>
    sign(hash, b, { key, dsaEncoding: 'ieee-p1363' })

t.test('decode gives header, payload and signature in hex', async (t) => {
  const signature = Buffer.from(ALICE.split('.')[2] ?? '', 'base64url').toString('hex')
  t.same(call('io.jwt.decode', ALICE), [HEADER, CLAIMS, signature])
  t.same(call('io.jwt.decode', token({ alg: 'none' }, { a: 1 }, none)), [
    { alg: 'none' },
    { a: 1 },
    '',
  ])
  const nested = token({ cty: 'JWT' }, `"${ALICE}"`, none)
  t.same(call('io.jwt.decode', nested), [HEADER, CLAIMS, signature])
})

const unreadable: readonly [string, string][] = [
  ['text', 'hello'],
  ['two parts', 'e30.e30'],
  ['four parts', 'e30.e30.e30.e30'],
  ['a header that is no JSON', `${encode('x')}.e30.`],
  ['a header that is no object', `${encode('[]')}.e30.`],
  ['a payload that is no object', `e30.${encode('1')}.`],
  ['bad base64', 'e30.e30.!'],
  ['an encrypted token', token({ enc: 'A128GCM' }, {}, none)],
]
for (const [name, text] of unreadable)
  t.test(`decoding ${name} is undefined`, async (t) => {
    t.throws(() => call('io.jwt.decode', text), { name: 'BuiltinError' })
  })

t.test('verify_* says yes to the right key and no to any other', async (t) => {
  t.equal(call('io.jwt.verify_hs256', ALICE, 'secret'), true)
  t.equal(call('io.jwt.verify_hs256', ALICE, 'Secret'), false)
  t.equal(call('io.jwt.verify_hs384', token({}, {}, hs('k', 'sha384')), 'k'), true)
  t.equal(call('io.jwt.verify_hs512', token({}, {}, hs('k', 'sha512')), 'k'), true)
  for (const bits of ['256', '384', '512']) {
    const hash = `sha${bits}`
    const rsToken = token({ alg: `RS${bits}` }, {}, rs(hash))
    t.equal(call(`io.jwt.verify_rs${bits}`, rsToken, pem(rsa.publicKey)), true)
    t.equal(call(`io.jwt.verify_rs${bits}`, rsToken, pem(otherRsa.publicKey)), false)
    t.equal(call(`io.jwt.verify_ps${bits}`, rsToken, pem(rsa.publicKey)), false)
    const psToken = token({ alg: `PS${bits}` }, {}, ps(hash))
    t.equal(call(`io.jwt.verify_ps${bits}`, psToken, pem(rsa.publicKey)), true)
  }
  const esToken = token({}, {}, es('sha256', p256.privateKey))
  t.equal(call('io.jwt.verify_es256', esToken, pem(p256.publicKey)), true)
  t.equal(call('io.jwt.verify_es384', esToken, pem(p256.publicKey)), false)
  t.equal(
    call('io.jwt.verify_es384', token({}, {}, es('sha384', p384.privateKey)), pem(p384.publicKey)),
    true,
  )
  const edToken = token({}, {}, (b) => sign(null, b, ed.privateKey))
  t.equal(call('io.jwt.verify_eddsa', edToken, pem(ed.publicKey)), true)
  t.equal(call('io.jwt.verify_eddsa', edToken, pem(p256.publicKey)), false)
})

t.test('a JWK set is asked by kid, then by alg', async (t) => {
  const jwk = (key: KeyObject, more: object) => ({ ...key.export({ format: 'jwk' }), ...more })
  const signed = token({ alg: 'RS256', kid: 'a' }, {}, rs('sha256'))
  const good = jwk(rsa.publicKey, { kid: 'a', alg: 'RS256' })
  t.equal(call('io.jwt.verify_rs256', signed, jwks(good)), true)
  t.equal(call('io.jwt.verify_rs256', signed, JSON.stringify(good)), true, 'one key alone')
  const wrong = jwk(otherRsa.publicKey, { kid: 'a' })
  t.equal(call('io.jwt.verify_rs256', signed, jwks(wrong, jwk(rsa.publicKey, { kid: 'b' }))), false)
  t.equal(call('io.jwt.verify_rs256', signed, jwks(jwk(rsa.publicKey, { alg: 'RS512' }))), false)
  t.equal(call('io.jwt.verify_rs256', signed, jwks(jwk(rsa.publicKey, { alg: 'RSA-OAEP' }))), false)
})

for (const [name, keys] of [
  ['text', 'hello'],
  ['a PEM private key', rsa.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()],
  ['two PEM blocks', pem(rsa.publicKey) + pem(rsa.publicKey)],
  ['a broken JWK', '{"kty":"RSA"}'],
  ['a list of nothing', '{"keys":[1]}'],
])
  t.test(`${name} for a key is undefined`, async (t) => {
    const signed = token({ alg: 'RS256' }, {}, rs('sha256'))
    t.throws(() => call('io.jwt.verify_rs256', signed, keys), { name: 'BuiltinError' })
  })

const UNVERIFIED = [false, {}, {}]

t.test('decode_verify gives the claims of a token that holds', async (t) => {
  t.same(call('io.jwt.decode_verify', ALICE, { secret: 'secret' }), [true, HEADER, CLAIMS])
  const signed = token(
    { alg: 'ES256' },
    { iss: 'i', aud: ['a', 'b'] },
    es('sha256', p256.privateKey),
  )
  const constraints = { cert: pem(p256.publicKey), alg: 'ES256', iss: 'i', aud: 'b' }
  t.same(call('io.jwt.decode_verify', signed, constraints), [
    true,
    { alg: 'ES256' },
    { iss: 'i', aud: ['a', 'b'] },
  ])
})

const publicPem = pem(rsa.publicKey)
const failing: readonly [string, string, object][] = [
  ['a wrong secret', ALICE, { secret: 'other' }],
  ['alg none', token({ alg: 'none' }, {}, none), { secret: 'secret' }],
  ['no alg', token({}, {}, hs('secret')), { secret: 'secret' }],
  ['another alg than asked', ALICE, { secret: 'secret', alg: 'HS512' }],
  [
    'a public key used as an HMAC secret',
    token({ alg: 'HS256' }, {}, hs(publicPem)),
    { cert: publicPem },
  ],
  [
    'an RSA token checked with a secret',
    token({ alg: 'RS256' }, {}, rs('sha256')),
    { secret: 's' },
  ],
  ['expiry now', token({ alg: 'HS256' }, { exp: 100 }, hs('s')), { secret: 's', time: 100e9 }],
  ['not yet valid', token({ alg: 'HS256' }, { nbf: 101 }, hs('s')), { secret: 's', time: 100e9 }],
  ['no time given, long expired', token({ alg: 'HS256' }, { exp: 100 }, hs('s')), { secret: 's' }],
  ['another issuer', token({ alg: 'HS256' }, { iss: 'x' }, hs('s')), { secret: 's', iss: 'y' }],
  ['no issuer', token({ alg: 'HS256' }, {}, hs('s')), { secret: 's', iss: 'y' }],
  [
    'an audience that is not asked for',
    token({ alg: 'HS256' }, { aud: 'a' }, hs('s')),
    { secret: 's' },
  ],
  ['no audience', token({ alg: 'HS256' }, {}, hs('s')), { secret: 's', aud: 'a' }],
  ['another audience', token({ alg: 'HS256' }, { aud: ['a'] }, hs('s')), { secret: 's', aud: 'b' }],
  [
    'an unknown critical header',
    token({ alg: 'HS256', crit: ['x'], x: 1 }, {}, hs('s')),
    { secret: 's' },
  ],
  ['a signature that was cut', ALICE.slice(0, -4), { secret: 'secret' }],
]
for (const [name, text, constraints] of failing)
  t.test(`decode_verify refuses ${name}`, async (t) => {
    t.same(call('io.jwt.decode_verify', text, constraints), UNVERIFIED)
  })

t.test('decode_verify of what is no token is undefined', async (t) => {
  t.throws(() => call('io.jwt.decode_verify', 'hello', { secret: 's' }), { name: 'BuiltinError' })
})

for (const [name, constraints] of [
  ['no key', {}],
  ['two keys', { secret: 's', cert: publicPem }],
  ['an unknown constraint', { secret: 's', leeway: 1 }],
  ['a secret that is no text', { secret: 1 }],
  ['a negative time', { secret: 's', time: -1 }],
] as const)
  t.test(`decode_verify with ${name} is undefined`, async (t) => {
    t.throws(() => call('io.jwt.decode_verify', ALICE, constraints), { name: 'BuiltinError' })
  })

t.test('a nested token is verified at every level', async (t) => {
  const inner = token({ alg: 'HS256' }, { a: 1 }, hs('s'))
  const good = token({ alg: 'HS256', cty: 'JWT' }, inner, hs('s'))
  t.same(call('io.jwt.decode_verify', good, { secret: 's' }), [true, { alg: 'HS256' }, { a: 1 }])
  const bad = token({ alg: 'HS256', cty: 'JWT' }, token({ alg: 'HS256' }, {}, hs('x')), hs('s'))
  t.same(call('io.jwt.decode_verify', bad, { secret: 's' }), UNVERIFIED)
})

t.test('keys are what the key says, not what the token says', async (t) => {
  const derived = createPublicKey(rsa.privateKey)
  t.equal(
    call('io.jwt.verify_rs256', token({ alg: 'HS256' }, {}, rs('sha256')), pem(derived)),
    true,
  )
})
