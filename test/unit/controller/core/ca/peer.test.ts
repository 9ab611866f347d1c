/** readPeer: only an SVID of Postern's shape names a peer. */
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { readPeer } from '../../../../../controller/core/ca/peer.ts'
import { assembleCertificate, buildTbs } from '../../../../../controller/core/ca/tbs.ts'
import type { CertificateTemplate } from '../../../../../controller/core/ca/template.ts'
import { makeCa, makeSvid } from '../../../../kit/identity.ts'

const NOW = Date.parse('2026-11-24T08:00:00Z')
const ca = await makeCa({ nowMs: NOW })
const svid = await makeSvid(ca, { workloadUid: 'uid-1', lifetimeSeconds: 20 })

async function signed(change: Partial<CertificateTemplate>, without: readonly string[] = []) {
  const template: Record<string, unknown> = { ...svid.template, ...change }
  for (const field of without) delete template[field]
  const tbs = buildTbs(template as unknown as CertificateTemplate)
  return assembleCertificate(tbs, await ca.signer.sign(tbs))
}

t.test('reads id, uid and times', async (t) => {
  t.same(readPeer(svid.der), {
    spiffeId: 'spiffe://shop.example/ns/shop/sa/web',
    workloadUid: 'uid-1',
    isProvisional: false,
    notBeforeMs: NOW - 60_000,
    notAfterMs: NOW + 20_000,
  })
})

t.test('is nobody otherwise', async (t) => {
  t.equal(readPeer(ca.root.der), undefined, 'a root')
  t.equal(readPeer(await signed({}, ['workloadUid'])), undefined, 'no UID')
  t.equal(readPeer(await signed({}, ['uri'])), undefined, 'no URI')
  t.equal(readPeer(await signed({ isCa: true })), undefined, 'a CA')
  for (const uri of [
    'spiffe://shop.example',
    'spiffe://shop.example/web',
    'spiffe://shop.example/ns/../sa/x',
    'https://shop.example/ns/a/sa/b',
    'spiffe://Shop.example/ns/a/sa/b',
  ])
    t.equal(readPeer(await signed({ uri })), undefined, uri)
  t.equal(readPeer(new Uint8Array()), undefined, 'nothing')
  t.equal(readPeer(svid.der.subarray(0, 100)), undefined, 'half of one')
})

t.test('never throws on mutated bytes', async (t) => {
  for (let round = 0; round < 3000; round++) {
    const mutated = Uint8Array.from(svid.der)
    const [a = 0, b = 0, c = 0] = randomBytes(3)
    mutated[(a * 256 + b) % mutated.length] = c
    readPeer(mutated)
  }
  t.pass()
})
