/** Who passes for the controller: nobody but the holder of the reserved id, signed by the root that was pinned. */
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { sha256 } from '../../../../../common/attestation.ts'
import { sequence } from '../../../../../common/der-write.ts'
import { assembleCertificate, buildTbs } from '../../../../../controller/core/ca/tbs.ts'
import {
  findControllerFault,
  findPathFault,
  findPinnedRoot,
  isRootOf,
  withoutNodeHint,
} from '../../../../../sidecar/core/identity/controller-trust.ts'
import { makeCa, makeSvid } from '../../../../kit/identity.ts'

const NOW = Date.parse('2026-11-24T08:00:00Z')
const ca = await makeCa({ nowMs: NOW })
const root = ca.root.der
const CONTROLLER = { namespace: 'postern-system', serviceAccount: 'postern-controller' }
const controller = (await makeSvid(ca, CONTROLLER)).der
const web = (await makeSvid(ca)).der

t.test('finds the pinned root of a good chain', async (t) => {
  const found = findPinnedRoot([controller, root], sha256(root), NOW)
  t.same(found, { root, trustDomain: 'shop.example' })
})

t.test('refuses every other chain', async (t) => {
  const other = await makeCa({ nowMs: NOW })
  const foreign = (await makeSvid(other, CONTROLLER)).der
  const cases: Record<string, [Uint8Array[], Uint8Array, RegExp, number?]> = {
    'without the root': [[controller], sha256(root), /fingerprint/],
    'with another root': [[foreign, other.root.der], sha256(root), /fingerprint/],
    'of another root, with ours behind it': [[foreign, root], sha256(root), /not signed/],
    'that is the root alone': [[root], sha256(root), /length/],
    'with a fingerprint of the leaf': [[controller, root], sha256(controller), /length/],
    'of a workload': [[web, root], sha256(root), /not spiffe:/],
    'of a workload that signs for itself': [
      [controller, web, root],
      sha256(root),
      /no CA|not signed/,
    ],
    'that is too long': [[...Array(5).fill(controller), root], sha256(root), /length/],
    'that is not in force yet': [[controller, root], sha256(root), /clock/, NOW - 3_600_000],
    'that has ended': [[controller, root], sha256(root), /clock/, NOW + 3_600_000],
    'of noise': [[randomBytes(300), root], sha256(root), /cannot be read/],
    'of nothing': [[], sha256(root), /fingerprint/],
  }
  for (const [name, [chain, fingerprint, fault, nowMs]] of Object.entries(cases))
    t.match(findPinnedRoot(chain, fingerprint, nowMs ?? NOW), { fault }, name)
})

t.test('a workload cannot issue for the controller, though its signature is right', async (t) => {
  const workload = await makeSvid(ca)
  const template = { ...(await makeSvid(ca, CONTROLLER)).template, issuer: sequence() }
  const tbs = buildTbs(template)
  const forged = assembleCertificate(tbs, workload.key.sign(tbs))
  const found = findPinnedRoot([forged, workload.der, root], sha256(root), NOW)
  t.match(found, { fault: 'an issuer in it is no CA' })
})

t.test('a root of no trust domain pins nothing', async (t) => {
  t.match(findPinnedRoot([controller, web], sha256(web), NOW), { fault: /no CA|not signed/ })
})

t.test('the leaf must be the reserved id of that trust domain', async (t) => {
  t.equal(findControllerFault(controller, 'shop.example'), undefined)
  t.match(findControllerFault(controller, 'other.example'), /not spiffe:\/\/other/)
  t.match(findControllerFault(root, 'shop.example'), /CA/)
  t.match(findControllerFault(new Uint8Array(), 'shop.example'), /read/)
})

t.test('paths and roots', async (t) => {
  t.equal(findPathFault([web, root], NOW), undefined)
  t.ok(isRootOf(root, 'shop.example'))
  t.notOk(isRootOf(root, 'other.example'))
  t.notOk(isRootOf(web, 'shop.example'))
  t.notOk(isRootOf(randomBytes(10), 'shop.example'))
})

t.test('mutated chains never pass', async (t) => {
  for (let i = 0; i < controller.length; i++) {
    const changed = Uint8Array.from(controller)
    changed[i] = (changed[i] ?? 0) ^ 0x01
    if (!('fault' in findPinnedRoot([changed, root], sha256(root), NOW))) t.fail(`byte ${i}`)
  }
})

t.test('the words of Node’s are OpenSSL’s alone', async (t) => {
  const said =
    'unable to verify the first certificate; if the root CA is installed locally, try running Node.js with --use-system-ca'
  t.equal(withoutNodeHint(said), 'unable to verify the first certificate')
})
