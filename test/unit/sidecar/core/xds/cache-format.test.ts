/** The cache is whole and ours, or it is nothing; and no private key is ever in it. */
import { create, toBinary } from '@bufbuild/protobuf'
import t from 'tap'
import { TYPE_URLS } from '../../../../../common/xds.ts'
import { toXdsResource } from '../../../../../common/xds-snapshot.ts'
import { SecretSchema } from '../../../../../proto/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import { fromCacheText, toCacheText } from '../../../../../sidecar/core/xds/cache-format.ts'
import type { Resources } from '../../../../../sidecar/core/xds/store.ts'
import { toSvidSecret } from '../../../../../sidecar/core/xds/svid-secret.ts'
import { makeCa } from '../../../../kit/identity.ts'
import { makeWorkloadSvid } from '../../../../kit/mesh-parts.ts'

const { cluster, secret } = TYPE_URLS
const resource = toXdsResource('a', new Uint8Array([0, 255, 10]))
const resources: Resources = new Map([[cluster, new Map([['a', resource]])]])

t.test('what is written is read', async (t) => {
  const read = fromCacheText('n', toCacheText('n', resources))
  t.ok(read.ok)
  if (read.ok) t.same(read.resources, resources)
})

t.test('anything changed is refused', async (t) => {
  const text = toCacheText('n', resources)
  for (const bad of ['', 'x', text.slice(0, -1), text.replace('"a"', '"b"'), `${text} `])
    t.match(fromCacheText('n', bad), { ok: false, reason: /digest/ })
})

t.test('another workload’s is refused', async (t) => {
  t.match(fromCacheText('m', toCacheText('n', resources)), { ok: false, reason: /another/ })
})

t.test('another format is refused', async (t) => {
  const { createHash } = await import('node:crypto')
  const json = '{"format":2}'
  const text = `sha256:${createHash('sha256').update(json).digest('hex')}\n${json}`
  t.match(fromCacheText('n', text), { ok: false, reason: /format/ })
})

t.test(
  'a secret with a key, or one that cannot be read, is left out; roots are kept',
  async (t) => {
    const svid = await makeWorkloadSvid(await makeCa())
    const own = toSvidSecret(svid)
    const roots = create(SecretSchema, {
      name: 'ROOTCA',
      type: { case: 'validationContext', value: {} },
    })
    const list = [
      own,
      toXdsResource('broken', new Uint8Array([255])),
      toXdsResource('ROOTCA', toBinary(SecretSchema, roots)),
    ]
    const text = toCacheText('n', new Map([[secret, new Map(list.map((r) => [r.name, r]))]]))
    const read = fromCacheText('n', text)
    t.same(read.ok && [...(read.resources.get(secret)?.keys() ?? [])], ['ROOTCA'])
    t.notOk(text.includes(Buffer.from(own.value).toString('base64')))
  },
)
