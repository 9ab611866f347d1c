/** Join token text and proof bytes. */
import { createHash, randomBytes } from 'node:crypto'
import { inspect } from 'node:util'
import t from 'tap'
import {
  csrBinding,
  formatJoinToken,
  makeJoinToken,
  parseJoinToken,
  reattestationPayload,
} from '../../../common/attestation.ts'

const fingerprint = randomBytes(32)

t.test('a token is read back as it was made', async (t) => {
  const token = makeJoinToken(randomBytes, fingerprint)
  const text = formatJoinToken(token)
  t.match(text.reveal(), /^postern-join-v1\.[\w-]{22}\.[\w-]{43}\.[\w-]{43}$/)
  const read = parseJoinToken(`\n ${text.reveal()}\n`)
  t.equal(read?.id, token.id)
  t.same(read?.secret.reveal(), Buffer.from(token.secret.reveal()))
  t.same(read?.rootFingerprint, fingerprint)
  t.notMatch(inspect(read), text.reveal().split('.')[2])
  t.equal(String(text), '[redacted]')
})

t.test('any other text is no token', async (t) => {
  const good = formatJoinToken(makeJoinToken(randomBytes, fingerprint)).reveal()
  const [prefix, id = '', secret = '', print = ''] = good.split('.')
  const others = [
    '',
    'x',
    good.replace('v1', 'v2'),
    `${good}.x`,
    [prefix, id, secret].join('.'),
    [prefix, id.slice(1), secret, print].join('.'),
    [prefix, id, `${secret}A`, print].join('.'),
    [prefix, id, secret, `${print.slice(0, -1)}=`].join('.'),
    [prefix, `${id.slice(0, -1)}!`, secret, print].join('.'),
    'x'.repeat(10_000),
  ]
  for (const text of others) t.equal(parseJoinToken(text), undefined, text.slice(0, 60))
})

t.test('the proof covers prefix, nonce and request', async (t) => {
  const nonce = Buffer.alloc(32, 1)
  const csr = Buffer.from('csr')
  const digest = createHash('sha256').update(csr).digest()
  t.same(
    reattestationPayload(nonce, csr),
    Buffer.concat([Buffer.from('postern-reattest-v1\n'), nonce, digest]),
  )
  t.equal(csrBinding(csr), digest.toString('hex'))
})
