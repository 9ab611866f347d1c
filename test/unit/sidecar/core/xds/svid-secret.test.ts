/** The SDS secret holds exactly the SVID, and the roots are found in theirs. */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import t from 'tap'
import { toXdsResource } from '../../../../../common/xds-snapshot.ts'
import { SecretSchema } from '../../../../../proto/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import { toSvidSecret, trustRootsOf } from '../../../../../sidecar/core/xds/svid-secret.ts'
import { makeCa, toPem } from '../../../../kit/identity.ts'
import { makeWorkloadSvid } from '../../../../kit/mesh-parts.ts'

t.test('chain and key, which belong together', async (t) => {
  const svid = await makeWorkloadSvid(await makeCa())
  const resource = toSvidSecret(svid)
  t.equal(resource.name, 'default')
  const { type } = fromBinary(SecretSchema, resource.value)
  if (type.case !== 'tlsCertificate') return t.fail('no certificate')
  const bytes = (s: unknown) => Buffer.from((s as { value: Uint8Array }).value)
  const certificate = new X509Certificate(bytes(type.value.certificateChain?.specifier))
  const key = createPrivateKey(bytes(type.value.privateKey?.specifier))
  t.ok(certificate.checkPrivateKey(key))
})

t.test('roots as bytes or as text, and none of anything else', async (t) => {
  const ca = await makeCa()
  const pem = toPem(ca.root.der) + toPem(ca.root.der)
  const secretOf = (type: NonNullable<Parameters<typeof create<typeof SecretSchema>>[1]>['type']) =>
    toXdsResource(
      'ROOTCA',
      toBinary(SecretSchema, create(SecretSchema, { name: 'R', ...(type && { type }) })),
    )
  const bytes = { case: 'inlineBytes', value: Buffer.from(pem) } as const
  const text = { case: 'inlineString', value: pem } as const
  for (const specifier of [bytes, text]) {
    const value = { trustedCa: { specifier } }
    const roots = trustRootsOf(secretOf({ case: 'validationContext', value }))
    t.same(
      roots.map((r) => Buffer.from(r)),
      [ca.root.der, ca.root.der].map((r) => Buffer.from(r)),
    )
  }
  t.same(trustRootsOf(secretOf({ case: 'validationContext', value: {} })), [])
  t.same(trustRootsOf(secretOf(undefined)), [])
})
