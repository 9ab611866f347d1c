/** What a sidecar keeps: the same after a trip through its text; a damaged text is refused and never quoted. */
import t from 'tap'
import { Secret } from '../../../../../common/secret.ts'
import {
  formatIdentity,
  parseIdentity,
  type StoredIdentity,
} from '../../../../../sidecar/core/identity/stored-identity.ts'

const joined = {
  workload: { namespace: 'shop', name: 'web', uid: 'uid-web' },
  spiffeId: 'spiffe://shop.example/ns/shop/sa/web',
  trustDomain: 'shop.example',
  trustBundle: [Uint8Array.of(1, 2, 3)],
  credential: Uint8Array.of(4, 5),
  credentialKey: new Secret('KEY'),
  tokenId: 'id-1',
}
const pending = { tokenId: 'id-2', credentialKey: new Secret('PENDING') }
const plain = (identity: StoredIdentity) => formatIdentity(identity).reveal()

t.test('is the same after a trip through its text', async (t) => {
  for (const identity of [{}, { joined }, { pending }, { joined, pending }]) {
    const read = parseIdentity(formatIdentity(identity))
    t.same(plain(read), plain(identity))
    t.equal(read.joined?.credentialKey.reveal(), 'joined' in identity ? 'KEY' : undefined)
  }
})

t.test('every flipped character of a value is noticed, and 0.1’s text is read', async (t) => {
  const text = plain({ joined, pending })
  for (const [from, to] of [
    ['AQID', 'AQIE'],
    ['uid-web', 'uid-wec'],
    ['"KEY"', '"KEZ"'],
    ['id-1', 'id-3'],
  ] as const)
    t.throws(() => parseIdentity(new Secret(text.replace(from, to))), { code: 'ERR_STATE_CORRUPT' })
  const { digest, ...before } = JSON.parse(text)
  t.match(digest, /^sha256:/)
  t.equal(plain(parseIdentity(new Secret(JSON.stringify(before)))), text)
})

t.test('a damaged text is refused and not quoted', async (t) => {
  const good = JSON.parse(plain({ joined, pending }))
  const texts = [
    '',
    'KEY{',
    'null',
    '{}',
    JSON.stringify({ ...good, version: 2 }),
    JSON.stringify({ ...good, joined: [] }),
    JSON.stringify({ ...good, joined: { ...good.joined, trustBundle: [] } }),
    JSON.stringify({ ...good, joined: { ...good.joined, trustBundle: 'AQID' } }),
    JSON.stringify({ ...good, joined: { ...good.joined, credential: '***' } }),
    JSON.stringify({ ...good, joined: { ...good.joined, workload: null } }),
    JSON.stringify({ ...good, pending: { tokenId: '' } }),
  ]
  for (const text of texts) {
    try {
      parseIdentity(new Secret(text))
      t.fail(`taken: ${text}`)
    } catch (error) {
      t.match(error, { code: 'ERR_STATE_CORRUPT' })
      t.notMatch((error as Error).message, 'KEY')
    }
  }
})
