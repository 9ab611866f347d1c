/**
 * Probes of a pod's containers that its sidecar serves in their place (POSTERN_APP_PROBES): under STRICT mutual TLS the
 * kubelet can't reach the app itself. What injection writes and the sidecar reads. Pure.
 * In: JSON. Out: probes, or what is wrong with it. What isn't listed here is never called.
 */

export interface AppProbe {
  /** Where the kubelet asks the sidecar: `/app-health/<container>/<livez|readyz|startupz>`. */
  readonly path: string
  readonly kind: 'http' | 'tcp' | 'grpc'
  /** Of the app. */
  readonly port: number
  /** `http` only; begins with `/`, may have a query. Default `/`. */
  readonly httpPath?: string
  /** `http` only. Certificates are not checked, as the kubelet does not. Default HTTP. */
  readonly scheme?: 'HTTP' | 'HTTPS'
  /** `http` only; as Kubernetes' `httpHeaders`. */
  readonly headers?: readonly { readonly name: string; readonly value: string }[]
  /** `grpc` only. Default: the whole server. */
  readonly grpcService?: string
  /** Default 1, as Kubernetes has it. */
  readonly timeoutSeconds?: number
}

export type ProbeName = 'livez' | 'readyz' | 'startupz'

const PATH = /^\/app-health\/[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\/(livez|readyz|startupz)$/
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/
const REQUEST_PATH = /^\/[\x21-\x7e]*$/
const FIELDS = new Set([
  'path',
  'kind',
  'port',
  'httpPath',
  'scheme',
  'headers',
  'grpcService',
  'timeoutSeconds',
])
const MAX_PROBES = 256
const MAX_TIMEOUT_SECONDS = 3600

export function appProbePath(container: string, probe: ProbeName): string {
  return `/app-health/${container}/${probe}`
}

/** The probes, or what is wrong with the text, to be said after its name. */
export function parseAppProbes(text: string): readonly AppProbe[] | string {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return 'is no JSON'
  }
  if (!Array.isArray(value) || value.length > MAX_PROBES)
    return `is no list of at most ${MAX_PROBES} probes`
  const probes = value as readonly unknown[]
  for (const [i, probe] of probes.entries()) {
    const fault = faultOf(probe)
    if (fault !== undefined) return `has a probe, number ${i + 1}, ${fault}`
  }
  const read = probes as readonly AppProbe[]
  return new Set(read.map(({ path }) => path)).size < read.length
    ? 'has two probes of one path'
    : read
}

function faultOf(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null) return 'that is no object'
  const probe = value as Readonly<Record<keyof AppProbe, unknown>>
  const unknown = Object.keys(probe).find((name) => !FIELDS.has(name))
  if (unknown !== undefined) return `with an unknown field ${unknown}`
  const { path, kind, port, httpPath = '/', scheme = 'HTTP', headers = [] } = probe
  const { grpcService = '', timeoutSeconds = 1 } = probe
  const checks: readonly (readonly [string, boolean])[] = [
    ['path', typeof path === 'string' && PATH.test(path)],
    ['kind', kind === 'http' || kind === 'tcp' || kind === 'grpc'],
    ['port', isInteger(port, 1, 65_535)],
    ['httpPath', typeof httpPath === 'string' && REQUEST_PATH.test(httpPath)],
    ['scheme', scheme === 'HTTP' || scheme === 'HTTPS'],
    ['headers', Array.isArray(headers) && headers.every(isHeader)],
    ['grpcService', typeof grpcService === 'string' && grpcService.length <= 256],
    ['timeoutSeconds', isInteger(timeoutSeconds, 1, MAX_TIMEOUT_SECONDS)],
  ]
  const wrong = checks.find(([, holds]) => !holds)
  return wrong && `with a wrong ${wrong[0]}`
}

function isHeader(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  const { name, value: text } = value as { name?: unknown; value?: unknown }
  if (typeof name !== 'string' || typeof text !== 'string') return false
  return TOKEN.test(name) && HEADER_VALUE.test(text)
}

function isInteger(value: unknown, least: number, most: number): boolean {
  return Number.isInteger(value) && Number(value) >= least && Number(value) <= most
}
