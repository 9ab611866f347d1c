import { generateKeyPairSync } from 'node:crypto'
import t from 'tap'
import { assertClean, readDump } from '../../../../../sidecar/core/envoy/config-dump.ts'
import { makeCertificates } from '../../../../kit/differential/certificates.ts'

const SECRET = 'f00dfeedf00dfeedf00dfeedf00dfeed'
const { ca, pairs } = makeCertificates({ one: ['spiffe://td/ns/shop/sa/web'] })
const base64 = (text: string) => Buffer.from(text).toString('base64')
const action = (name: string, more = {}) => ({
  action: {
    typed_config: { '@type': 'type.googleapis.com/envoy.config.rbac.v3.Action', name, ...more },
  },
})
const type = (name: string) => `type.googleapis.com/envoy.admin.v3.${name}`

const dump = {
  configs: [
    {
      '@type': type('BootstrapConfigDump'),
      bootstrap: {
        node: { id: 'shop/web/u', extensions: ['all of them'] },
        metadata: [{ key: 'x-postern-secret', value: SECRET }, { note: `said ${SECRET} twice` }],
        tls: { private_key: { inline_string: 'a key' }, password: { inline_string: 'b' } },
      },
    },
    {
      '@type': type('ListenersConfigDump'),
      static_listeners: [{ name: 's' }],
      dynamic_listeners: [{ name: 'inbound/1', keys: ['ticket'] }],
    },
    {
      '@type': type('SecretsConfigDump'),
      dynamic_active_secrets: [
        {
          name: 'default',
          version_info: 'v',
          secret: {
            tls_certificate: {
              certificate_chain: { inline_bytes: base64(pairs.one.certificate) },
              private_key: { inline_bytes: base64(pairs.one.privateKey) },
            },
          },
        },
        {
          name: 'ROOTCA',
          secret: { validation_context: { trusted_ca: { inline_string: ca } } },
        },
        { name: 'odd', secret: { generic_secret: { secret: { inline_string: 'shh' } } } },
      ],
    },
    {
      '@type': type('EcdsConfigDump'),
      ecds_filters: [
        {
          version_info: 'e',
          ecds_filter: {
            name: 'rbac/1/tls',
            typed_config: {
              '@type': 'type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC',
              matcher: {
                list: [action('guard/path', { action: 'DENY' }), action('ns/p/rules[0]')],
              },
              shadow_matcher: { on_no_match: action('ns/p/rules[0]') },
            },
          },
        },
        { ecds_filter: { name: 'ext_authz/1/tls', typed_config: { '@type': 'x.ExtAuthz' } } },
        {
          version_info: 'f',
          ecds_filter: {
            name: 'authz/2/tls',
            typed_config: {
              '@type':
                'type.googleapis.com/envoy.extensions.filters.http.filter_chain.v3.FilterChainConfig',
              default_filter_chain: {
                filters: [
                  { name: 'rbac', typed_config: { matcher: { on_no_match: action('pass') } } },
                  { name: 'ext_authz', typed_config: { '@type': 'x.ExtAuthz' } },
                ],
              },
            },
          },
        },
      ],
    },
  ],
}
const read = readDump(JSON.stringify(dump), SECRET)

t.test('keys and the per-start secret never come out', async (t) => {
  const text = JSON.stringify(read)
  for (const secret of [SECRET, 'a key', 'shh', 'ticket', base64(pairs.one.privateKey)]) {
    t.notOk(text.includes(secret), secret.slice(0, 10))
  }
  t.match(read.bootstrap, { node: { id: 'shop/web/u' }, tls: { private_key: '[redacted]' } })
  t.notOk(text.includes('all of them'), 'nor what nobody reads')
  t.equal(assertClean(text, SECRET), text)
})

t.test('of a certificate: whose, which, until when', async (t) => {
  t.match(read.sections.secrets, [
    {
      name: 'default',
      kind: 'certificate',
      state: 'active',
      certificates: [{ spiffeId: 'spiffe://td/ns/shop/sa/web', serialNumber: /^[0-9a-f]+$/ }],
    },
    { name: 'ROOTCA', kind: 'trust bundle', certificates: [{ notAfter: /^\d{4}-.*Z$/ }] },
    { name: 'odd', kind: 'other', certificates: [] },
  ])
})

t.test('sections hold static and dynamic entries; an absent one is empty', async (t) => {
  t.match(read.sections.listeners, [{ name: 's' }, { name: 'inbound/1' }])
  t.same(read.sections.routes, [])
})

t.test('RBAC trees are told by the names of their actions, each once', async (t) => {
  t.same(read.rbac, [
    {
      name: 'rbac/1/tls',
      version: 'e',
      actions: [
        { name: 'guard/path', action: 'DENY' },
        { name: 'ns/p/rules[0]', action: 'ALLOW' },
      ],
    },
    { name: 'authz/2/tls', version: 'f', actions: [{ name: 'pass', action: 'ALLOW' }] },
  ])
})

t.test('what would hold a secret all the same does not leave', async (t) => {
  const pem = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({
    type: 'pkcs8',
    format: 'pem',
  }) as string
  const leaks = [
    SECRET,
    base64(SECRET),
    pem,
    ...['', 'x', 'xx'].map((before) => base64(before + pem)),
    base64(pem.replace('PRIVATE', 'EC PRIVATE')),
  ]
  for (const leak of leaks) {
    t.throws(
      () => assertClean(`{"a":"${leak}"}`, SECRET),
      { code: 'ERR_INTERNAL' },
      leak.slice(0, 9),
    )
  }
})

t.test('what is no config_dump is an error', async (t) => {
  t.throws(() => readDump('<html>', SECRET), { code: 'ERR_INTERNAL' })
  t.same(readDump('{}', SECRET).rbac, [])
})
