/**
 * Envoy's config_dump → what an operator may see of it, a section at a time. In: the JSON text of Envoy's admin.
 * Out: values without keys and secrets: of a certificate its names, serial number and times, of the bootstrap no secret.
 * Must never let a private key or the per-start secret through: what is left is searched for them before it leaves.
 * Source: envoy/admin/v3/config_dump.proto.
 */
import { X509Certificate } from 'node:crypto'
import { MeshError } from '../../../common/errors.ts'
import { SECRET_HEADER } from './bootstrap.ts'

export const SECTIONS = ['listeners', 'routes', 'clusters', 'endpoints', 'secrets'] as const
export type Section = (typeof SECTIONS)[number]

type Json = Readonly<Record<string, unknown>>

const REDACTED = '[redacted]'
/** Fields of Envoy's API that hold keys. `private_key` is redacted by Envoy too; what is new there one day may not be. */
const KEY_FIELDS: ReadonlySet<string> = new Set([
  ...['private_key', 'private_key_provider', 'password', 'pkcs12', 'keys', 'hmac_secret'],
  ...['client_secret', 'token_secret', 'inline_bytes'],
])
/** What a PEM private key begins with, as text and as base64 at each of the three alignments. */
const PRIVATE_KEY = /PRIVATE KEY-----|UFJJVkFURSBLRVkt|BSSVZBVEUgS0VZL|QUklWQVRFIEtFWS0/

export interface Dump {
  readonly sections: Readonly<Partial<Record<Section, readonly unknown[]>>>
  readonly bootstrap: unknown
  /** Names of the actions in the RBAC trees that Envoy has, by extension configuration. */
  readonly rbac: readonly RbacTree[]
}

export interface RbacTree {
  readonly name: string
  readonly version: string
  readonly actions: readonly { readonly name: string; readonly action: 'ALLOW' | 'DENY' }[]
}

/** Errors: ERR_INTERNAL when the text is no config_dump. `secret`: the per-start secret. */
export function readDump(text: string, secret: string): Dump {
  const configs = listOf(parse(text).configs)
  const of = (type: string) =>
    (configs.find((c) => String(c['@type']).endsWith(`.${type}`)) ?? {}) as Json
  const entries = (type: string, ...fields: string[]) =>
    fields.flatMap((field) => listOf(of(type)[field]))
  return {
    sections: {
      listeners: entries('ListenersConfigDump', 'static_listeners', 'dynamic_listeners').map(clean),
      routes: entries('RoutesConfigDump', 'static_route_configs', 'dynamic_route_configs').map(
        clean,
      ),
      clusters: entries(
        'ClustersConfigDump',
        ...['static_clusters', 'dynamic_active_clusters', 'dynamic_warming_clusters'],
      ).map(clean),
      endpoints: entries(
        'EndpointsConfigDump',
        ...['static_endpoint_configs', 'dynamic_endpoint_configs'],
      ).map(clean),
      secrets: [
        ...entries('SecretsConfigDump', 'static_secrets').map((s) => toSecret(s, 'static')),
        ...entries('SecretsConfigDump', 'dynamic_active_secrets').map((s) => toSecret(s, 'active')),
        ...entries('SecretsConfigDump', 'dynamic_warming_secrets').map((s) =>
          toSecret(s, 'warming'),
        ),
      ],
    },
    bootstrap: toBootstrap((of('BootstrapConfigDump').bootstrap ?? {}) as Json, secret),
    rbac: entries('EcdsConfigDump', 'ecds_filters').flatMap(toTree),
  }
}

/** The text, if it holds neither a private key nor the secret. Errors: ERR_INTERNAL: it must not leave. */
export function assertClean(text: string, secret: string): string {
  const forms = [secret, Buffer.from(secret).toString('base64').replace(/=+$/, '').slice(0, -1)]
  if (!PRIVATE_KEY.test(text) && !forms.some((form) => text.includes(form))) return text
  throw new MeshError('ERR_INTERNAL', 'the answer would hold a secret, so there is none')
}

function parse(text: string): Json {
  try {
    return JSON.parse(text) as Json
  } catch (cause) {
    throw new MeshError('ERR_INTERNAL', 'Envoy’s config_dump is no JSON', { cause })
  }
}

function listOf(value: unknown): readonly Json[] {
  return Array.isArray(value) ? (value as Json[]) : []
}

/** A copy without what fields of keys hold, and without the values of gRPC metadata that carries the secret. */
function clean(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(clean)
  if (typeof value !== 'object' || value === null) return value
  const fields = value as Json
  if (fields.key === SECRET_HEADER) return { ...fields, value: REDACTED }
  return Object.fromEntries(
    Object.entries(fields).map(([key, child]) => [
      key,
      KEY_FIELDS.has(key) ? REDACTED : clean(child),
    ]),
  )
}

function withoutText(value: unknown, secret: string): unknown {
  if (typeof value === 'string') return value.replaceAll(secret, REDACTED)
  if (Array.isArray(value)) return value.map((v) => withoutText(v, secret))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, child]) => [key, withoutText(child, secret)]),
  )
}

/** Without the list of everything that this build of Envoy can do, which is longer than all the rest. */
function toBootstrap(bootstrap: Json, secret: string): unknown {
  const { extensions: _, ...node } = (bootstrap.node ?? {}) as Json
  return clean(withoutText({ ...bootstrap, node }, secret))
}

/** Of a certificate or a trust bundle: what it says, never what it is. */
function toSecret(entry: Json, state: string): unknown {
  const { name, version_info: version, last_updated: lastUpdated } = entry
  const secret = (entry.secret ?? {}) as Json
  const certificate = secret.tls_certificate as Json | undefined
  const validation = secret.validation_context as Json | undefined
  const source = (certificate?.certificate_chain ?? validation?.trusted_ca) as Json | undefined
  const kind =
    certificate === undefined
      ? validation === undefined
        ? 'other'
        : 'trust bundle'
      : 'certificate'
  return { name, kind, state, version, lastUpdated, certificates: toCertificates(source) }
}

function toCertificates(source: Json | undefined): readonly unknown[] {
  const bytes = source?.inline_bytes
  const text =
    typeof bytes === 'string'
      ? Buffer.from(bytes, 'base64').toString('latin1')
      : String(source?.inline_string ?? '')
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? []
  return blocks.map((pem) => {
    const cert = new X509Certificate(pem)
    const uri = /URI:([^,\s]+)/.exec(cert.subjectAltName ?? '')?.[1]
    return {
      spiffeId: uri ?? '',
      serialNumber: cert.serialNumber.toLowerCase(),
      notBefore: new Date(cert.validFrom).toISOString(),
      notAfter: new Date(cert.validTo).toISOString(),
    }
  })
}

/** The filter itself, or a chain of filters that it is one of. */
const RBAC_HOLDER = /\.rbac\.v3\.RBAC$|\.filter_chain\.v3\.FilterChainConfig$/

function toTree(entry: Json): readonly RbacTree[] {
  const filter = (entry.ecds_filter ?? {}) as Json
  const config = (filter.typed_config ?? {}) as Json
  if (!RBAC_HOLDER.test(String(config['@type']))) return []
  const actions = new Map<string, RbacTree['actions'][number]>()
  collectActions(config, actions)
  const version = String(entry.version_info ?? '')
  return [{ name: String(filter.name ?? ''), version, actions: [...actions.values()] }]
}

function collectActions(value: unknown, into: Map<string, RbacTree['actions'][number]>): void {
  if (typeof value !== 'object' || value === null) return
  const fields = value as Json
  if (String(fields['@type']).endsWith('.config.rbac.v3.Action')) {
    const name = String(fields.name ?? '')
    // Envoy leaves the zero value out, which is ALLOW.
    const action = fields.action === 'DENY' ? 'DENY' : 'ALLOW'
    into.set(`${action} ${name}`, { name, action })
    return
  }
  for (const child of Object.values(fields)) collectActions(child, into)
}
