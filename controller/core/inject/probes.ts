/**
 * Probes of the app, which the kubelet sends in plaintext and a STRICT proxy would refuse: they are sent to the sidecar
 * instead, on its health port, and it asks the app. Rewriting and its undoing. Probes that run a command, or that are sent
 * to another host, stay as they are.
 */
import { type AppProbe, appProbePath, parseAppProbes } from '../../../common/app-probe.ts'
import { HEALTH_PORT } from './names.ts'
import type { Container, HttpGet, Probe } from './pod-spec.ts'

const KINDS = [
  ['livenessProbe', 'livez'],
  ['readinessProbe', 'readyz'],
  ['startupProbe', 'startupz'],
] as const

/** What Kubernetes takes when a probe doesn't say. */
const DEFAULT_TIMEOUT_SECONDS = 1

/** The container with its probes sent to the sidecar, and what the sidecar is to ask. */
export function rewriteProbes(container: Container): {
  readonly container: Container
  readonly probes: readonly AppProbe[]
} {
  const probes: AppProbe[] = []
  const changed: Record<string, Probe> = {}
  for (const [field, name] of KINDS) {
    const probe = container[field]
    const path = appProbePath(container.name, name)
    const asked = probe && toAppProbe(container, probe, path)
    if (probe === undefined || asked === undefined) continue
    const { httpGet: _, tcpSocket: __, grpc: ___, ...rest } = probe
    changed[field] = { ...rest, httpGet: { path, port: HEALTH_PORT, scheme: 'HTTP' } }
    probes.push(asked)
  }
  return { container: probes.length === 0 ? container : { ...container, ...changed }, probes }
}

/** Undoes `rewriteProbes`. A probe that goes to the sidecar and that nobody knows is left out: it could only fail. */
export function restoreProbes(container: Container, known: readonly AppProbe[]): Container {
  const changed: Record<string, unknown> = { ...container }
  for (const [field, name] of KINDS) {
    const probe = container[field]
    const path = appProbePath(container.name, name)
    if (probe?.httpGet?.path !== path || probe.httpGet.port !== HEALTH_PORT) continue
    const asked = known.find((one) => one.path === path)
    const { httpGet: _, ...rest } = probe
    if (asked === undefined) delete changed[field]
    else changed[field] = { ...rest, ...toHandler(asked) }
  }
  return changed as Container
}

/** The sidecar's environment variable. */
export const APP_PROBES = 'POSTERN_APP_PROBES'

/** As the value of an environment variable in a pod, in which the kubelet would put others for `$(NAME)`. */
export function writeAppProbes(probes: readonly AppProbe[]): string {
  return JSON.stringify(probes).replaceAll('$', () => '$$')
}

/** What an injected sidecar was told, probe by probe; nothing that is not of this form. */
export function readAppProbes(text: string | undefined): readonly AppProbe[] {
  try {
    const value: unknown = JSON.parse((text ?? '[]').replaceAll('$$', () => '$'))
    return Array.isArray(value) ? value.filter(isAppProbe) : []
  } catch {
    return []
  }
}

function isAppProbe(value: unknown): value is AppProbe {
  return typeof parseAppProbes(JSON.stringify([value])) !== 'string'
}

function toAppProbe(container: Container, probe: Probe, path: string): AppProbe | undefined {
  const { httpGet, tcpSocket, grpc, timeoutSeconds = DEFAULT_TIMEOUT_SECONDS } = probe
  if (httpGet?.host || tcpSocket?.host) return undefined
  const port = portOf(container, httpGet?.port ?? tcpSocket?.port ?? grpc?.port)
  if (port === undefined) return undefined
  const { kind, ...more } = toQuestion(probe)
  const asked = { path, kind, port, ...more, timeoutSeconds }
  return isAppProbe(asked) ? asked : undefined
}

function toQuestion({ httpGet, grpc }: Probe) {
  if (httpGet !== undefined) return { kind: 'http', ...toHttp(httpGet) }
  if (grpc === undefined) return { kind: 'tcp' }
  return { kind: 'grpc', ...(grpc.service ? { grpcService: grpc.service } : {}) }
}

function toHttp({ path = '/', scheme, httpHeaders = [] }: HttpGet) {
  return {
    httpPath: path.startsWith('/') ? path : `/${path}`,
    scheme: scheme === 'HTTPS' ? ('HTTPS' as const) : ('HTTP' as const),
    headers: httpHeaders.map(({ name, value = '' }) => ({ name, value })),
  }
}

function toHandler(probe: AppProbe): Partial<Probe> {
  const { kind, port, httpPath = '/', scheme = 'HTTP', headers = [], grpcService } = probe
  if (kind === 'tcp') return { tcpSocket: { port } }
  if (kind === 'grpc')
    return { grpc: { port, ...(grpcService === undefined ? {} : { service: grpcService }) } }
  const httpHeaders = headers.length === 0 ? {} : { httpHeaders: headers }
  return { httpGet: { path: httpPath, port, scheme, ...httpHeaders } }
}

function portOf({ ports = [] }: Container, port: number | string | undefined): number | undefined {
  if (typeof port !== 'string') return port
  if (/^\d+$/.test(port)) return Number(port)
  return ports.find(({ name }) => name === port)?.containerPort
}
