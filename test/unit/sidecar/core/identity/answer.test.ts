/** A controller's answer is stored only when all of it is ours, and fits together. */
import t from 'tap'
import {
  type Asked,
  type AttestAnswer,
  checkAnswer,
} from '../../../../../sidecar/core/identity/answer.ts'
import { makeCa, makeKey, makeSvid } from '../../../../kit/identity.ts'

const NOW = Date.parse('2026-11-24T08:00:00Z')
const ca = await makeCa({ nowMs: NOW })
const other = await makeCa({ nowMs: NOW })
const svid = await makeSvid(ca)
// Any certificate with the right key and uid does for a credential: only its issuer can judge the rest.
const credential = await makeSvid(ca)

const answer: AttestAnswer = {
  certificateChain: [svid.der],
  trustBundle: [ca.root.der],
  credential: credential.der,
  spiffeId: 'spiffe://shop.example/ns/shop/sa/web',
  workload: { namespace: 'shop', name: 'web', uid: 'uid-web' },
}
const asked: Asked = {
  publicKey: svid.key.publicKey,
  credentialKey: credential.key.publicKey,
  trustDomain: 'shop.example',
  workloadUid: 'uid-web',
  nowMs: NOW,
}

t.test('takes a good one', async (t) => {
  const { serialNumber, notBeforeMs, notAfterMs } = svid
  t.match(checkAnswer(answer, asked), { ...answer, serialNumber, notBeforeMs, notAfterMs })
  t.ok(checkAnswer({ ...answer, trustBundle: [other.root.der, ca.root.der] }, asked), 'two roots')
})

t.test('refuses everything else', async (t) => {
  const foreignDomain = await makeCa({ nowMs: NOW, trustDomain: 'other.example' })
  const reserved = { namespace: 'postern-system', serviceAccount: 'postern-controller' }
  const controller = await makeSvid(ca, reserved)
  const cases: Record<string, [Partial<AttestAnswer>, Partial<Asked>, RegExp]> = {
    'another key': [{}, { publicKey: makeKey().publicKey }, /another key/],
    'another credential key': [
      {},
      { credentialKey: makeKey().publicKey },
      /credential has another/,
    ],
    'another uid': [{ workload: { ...answer.workload, uid: 'x' } }, {}, /another uid/],
    'another uid than the credential had': [{}, { workloadUid: 'x' }, /uid is not the one/],
    'another id': [{ spiffeId: 'spiffe://shop.example/ns/a/sa/b' }, {}, /another SPIFFE id/],
    'another trust domain': [{}, { trustDomain: 'other.example' }, /another trust domain/],
    'a bad name': [{ workload: { ...answer.workload, name: '../x' } }, {}, /name is no name/],
    'a bad namespace': [{ workload: { ...answer.workload, namespace: '' } }, {}, /namespace/],
    'no certificate': [{ certificateChain: [] }, {}, /./],
    'no root': [{ trustBundle: [] }, {}, /wrong size/],
    'a root of another domain': [
      { trustBundle: [ca.root.der, foreignDomain.root.der] },
      {},
      /a root is of another/,
    ],
    'a root that did not sign': [{ trustBundle: [other.root.der] }, {}, /not signed/],
    'a leaf as root': [{ trustBundle: [svid.der] }, {}, /a root is of another/],
    'a time before': [{}, { nowMs: NOW - 3_600_000 }, /clock/],
    'a time after': [{}, { nowMs: svid.notAfterMs }, /clock/],
    'no credential': [{ credential: new Uint8Array() }, {}, /./],
    'the identity of the controller': [
      {
        certificateChain: [controller.der],
        spiffeId: 'spiffe://shop.example/ns/postern-system/sa/postern-controller',
      },
      { publicKey: controller.key.publicKey },
      /reserved/,
    ],
  }
  for (const [name, [change, question, message]] of Object.entries(cases))
    t.throws(
      () => checkAnswer({ ...answer, ...change }, { ...asked, ...question }),
      { code: 'ERR_CONTROLLER_UNTRUSTED', message },
      name,
    )
})
