/** What is remembered of tokens and credentials, as text and by rule. The flows are in attestation.test.ts. */
import t from 'tap'
import { sha256 } from '../../../../../common/attestation.ts'
import {
  addToken,
  checkToken,
  EMPTY_REGISTRY,
  judgeUse,
  type Registry,
  recordUse,
  revoke,
  spendToken,
} from '../../../../../controller/core/ca/registry.ts'
import { formatRegistry, parseRegistry } from '../../../../../controller/core/ca/registry-text.ts'

const DAY = 86_400_000
const secret = Buffer.alloc(32, 7)
const keyHash = 'a'.repeat(64)
const token = {
  secretHash: sha256(secret).toString('hex'),
  workload: 'shop/web',
  workloadUid: 'uid-web',
  expiresMs: 1000,
}
const withToken = addToken(EMPTY_REGISTRY, 'id-1', token, 0)
const joined = spendToken(withToken, 'id-1', { keyHash, serialNumber: '01', nowMs: 1 })
const presented = { id: 'id-1', secret }

t.test('is the same after a trip through its text', async (t) => {
  const used = recordUse(joined, 'uid-web', { presented: '01', nextSerial: '02', nowMs: 2 })
  for (const registry of [
    EMPTY_REGISTRY,
    withToken,
    joined,
    used,
    revoke(used, 'uid-web', 'why', 3),
  ])
    t.same(parseRegistry(formatRegistry(registry)), registry)
})

t.test('a damaged text is refused whatever is wrong', async (t) => {
  const good = JSON.parse(formatRegistry(revoke(joined, 'uid-web', 'why', 3)))
  const change = (path: string[], value: unknown) => {
    const copy = structuredClone(good)
    let at = copy
    for (const key of path.slice(0, -1)) at = at[key]
    at[path.at(-1) ?? ''] = value
    return JSON.stringify(copy)
  }
  const texts = [
    '',
    'null',
    '[]',
    '{}',
    change(['version'], 2),
    change(['tokens'], []),
    change(['tokens', 'id-1'], null),
    change(['tokens', 'id-1', 'secretHash'], 'A'.repeat(64)),
    change(['tokens', 'id-1', 'workloadUid'], ''),
    change(['tokens', 'id-1', 'expiresMs'], '1'),
    change(['tokens', 'id-1', 'usedByKey'], null),
    change(['credentials', 'uid-web', 'keyHash'], undefined),
    change(['credentials', 'uid-web', 'next'], 5),
    change(['credentials', 'uid-web', 'revoked'], true),
    change(['credentials', 'uid-web', 'touchedMs'], null),
  ]
  for (const text of texts) t.throws(() => parseRegistry(text), { code: 'ERR_STATE_CORRUPT' }, text)
})

t.test('nothing is told of a token without its secret', async (t) => {
  const wrong = { id: 'id-1', secret: Buffer.alloc(32, 8) }
  const message = 'join token is not known'
  t.match(checkToken(joined, wrong, keyHash, 5000), { code: 'ERR_TOKEN_INVALID', message })
  t.match(checkToken(joined, { id: 'no', secret }, keyHash, 0), { message })
  t.match(checkToken(EMPTY_REGISTRY, presented, keyHash, 0), { message })
  t.match(checkToken(joined, presented, 'b'.repeat(64), 0), { code: 'ERR_TOKEN_USED' })
  t.match(checkToken(withToken, presented, keyHash, 1000), { code: 'ERR_TOKEN_EXPIRED' })
})

t.test('a second token wants a new key', async (t) => {
  const again = addToken(joined, 'id-2', token, 0)
  t.match(checkToken(again, { id: 'id-2', secret }, keyHash, 0), { code: 'ERR_CSR_INVALID' })
  t.match(checkToken(again, { id: 'id-2', secret }, 'b'.repeat(64), 0), { ok: true })
})

t.test('a spent token is no use to the key of a later one', async (t) => {
  const other = 'b'.repeat(64)
  const two = addToken(joined, 'id-2', token, 0)
  const rejoined = spendToken(two, 'id-2', { keyHash: other, serialNumber: '09', nowMs: 2 })
  t.match(checkToken(rejoined, presented, other, 0), { code: 'ERR_TOKEN_USED' })
  t.match(checkToken(rejoined, { id: 'id-2', secret }, other, 0), { ok: true })
})

t.test(
  'a lost answer may be asked for again until something is confirmed or revoked',
  async (t) => {
    t.match(checkToken(joined, presented, keyHash, 0), { ok: true })
    const confirmed = recordUse(joined, 'uid-web', { presented: '01', nextSerial: '02', nowMs: 2 })
    t.match(checkToken(confirmed, presented, keyHash, 0), { code: 'ERR_TOKEN_USED' })
    const revoked = revoke(joined, 'uid-web', 'why', 2)
    t.match(checkToken(revoked, presented, keyHash, 0), { code: 'ERR_TOKEN_USED' })
  },
)

t.test('current and next are good, older ones replayed, other keys superseded', async (t) => {
  const kind = (registry: Registry, serialNumber: string, key = keyHash) =>
    judgeUse(registry, 'uid-web', { keyHash: key, serialNumber }).kind
  const second = recordUse(joined, 'uid-web', { presented: '01', nextSerial: '02', nowMs: 2 })
  const third = recordUse(second, 'uid-web', { presented: '02', nextSerial: '03', nowMs: 3 })
  t.equal(kind(joined, '01'), 'good')
  t.equal(kind(second, '01'), 'good')
  t.equal(kind(second, '02'), 'good')
  t.equal(kind(third, '01'), 'replayed')
  t.equal(kind(third, '03', 'b'.repeat(64)), 'superseded')
  t.equal(kind(revoke(third, 'uid-web', 'why', 4), '03'), 'revoked')
  t.equal(judgeUse(third, 'uid-x', { keyHash, serialNumber: '03' }).kind, 'unknown')
})

t.test('the first reason stays, and nobody unknown is revoked', async (t) => {
  const once = revoke(joined, 'uid-web', 'first', 1)
  t.match(revoke(once, 'uid-web', 'second', 2).credentials.get('uid-web')?.revoked, {
    reason: 'first',
    atMs: 1,
  })
  t.equal(revoke(joined, 'uid-x', 'why', 1), joined)
  t.equal(spendToken(joined, 'no', { keyHash, serialNumber: '1', nowMs: 0 }), joined)
})

t.test('what has ended long ago is forgotten when a token is added', async (t) => {
  const later = addToken(joined, 'id-2', { ...token, expiresMs: 200 * DAY }, 100 * DAY)
  t.same([...later.tokens.keys()], ['id-2'])
  t.equal(later.credentials.size, 0)
  const soon = addToken(joined, 'id-2', token, 1000)
  t.equal(soon.tokens.size, 2)
  t.equal(soon.credentials.size, 1)
})
