/**
 * One workload with real processes: `postern controller`, `postern sidecar` with its Envoy, and the workload's app.
 * For tests of what a sidecar lives through. In: how it is started. Out: handles to call it, stop and start its parts.
 */
import { writeFileSync } from 'node:fs'
import { type Agent, createServer, get as httpGet } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { connect as tlsConnect } from 'node:tls'
import type { Test } from 'tap'
import { MESH_ALPN } from '../../controller/core/xds/names.ts'
import { type ControllerProcess, startController } from './controller.ts'
import { freePorts } from './ports.ts'
import { startProcess, type TestProcess } from './process.ts'
import { tempDir } from './tempdir.ts'
import { toolPath } from './tools.ts'
import { waitFor } from './wait.ts'

const CLI = join(import.meta.dirname, '../../cli/main.ts')

export interface LifeOptions {
  readonly svidSeconds?: number
  /** Where the sidecar keeps its state. Default: a folder of its own. */
  readonly state?: string
  readonly decisionLog?: string
  readonly envoy?: string
  readonly env?: Readonly<Record<string, string>>
  readonly drainSeconds?: number
  /** Sockets in the state directory, where they are unless one says otherwise. */
  readonly hasDefaultRunDir?: boolean
}

export interface Answer {
  readonly status: number
  readonly close: boolean
}

/** Rejects when nothing answers. */
export function call(port: number, path: string, agent?: Agent): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpGet(
      { host: '127.0.0.1', port, path, agent: agent ?? false },
      (response) => {
        response.resume()
        response.on('error', reject)
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            close: response.headers.connection === 'close',
          }),
        )
      },
    )
    request.on('error', reject)
  })
}

/** The status of a call; 0 when nothing answers. */
export function statusOf(port: number, path: string): Promise<number> {
  return call(port, path).then(
    ({ status }) => status,
    () => 0,
  )
}

/** Serial number of the certificate that a PERMISSIVE port shows to a proxy of the mesh; undefined: none. */
function serialOf(port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const options = { host: '127.0.0.1', port, rejectUnauthorized: false }
    const socket = tlsConnect({ ...options, ALPNProtocols: [MESH_ALPN] })
    socket.on('secureConnect', () => {
      resolve(socket.getPeerCertificate().serialNumber)
      socket.destroy()
    })
    socket.on('error', () => resolve(undefined))
  })
}

/** `/slow` is answered when `release` is called; everything else at once. */
async function startApp(t: Pick<Test, 'teardown'>) {
  const waiting: (() => void)[] = []
  const server = createServer((request, response) => {
    if (request.url === '/slow') waiting.push(() => response.end('slow'))
    else response.end('ok')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return {
    port: (server.address() as AddressInfo).port,
    waiting: () => waiting.length,
    release: () => {
      for (const answer of waiting.splice(0)) answer()
    },
  }
}

function manifests(ports: { inbound: number; app: number }, svidSeconds: number): string {
  return `
apiVersion: postern.dev/v1alpha1
kind: Mesh
metadata: { name: mesh }
spec:
  trustDomain: shop.example
  svid: { lifetimeSeconds: ${svidSeconds} }
  mtls: { mode: PERMISSIVE }
---
apiVersion: postern.dev/v1alpha1
kind: CertificateAuthority
metadata: { name: postern }
spec: { selfSigned: {} }
---
apiVersion: postern.dev/v1alpha1
kind: WorkloadEntry
metadata: { name: orders, namespace: shop }
spec:
  serviceAccount: orders
  inbound: [{ name: http, port: ${ports.inbound}, appPort: ${ports.app} }]
---
apiVersion: postern.dev/v1alpha1
kind: AuthorizationPolicy
metadata: { name: rules, namespace: shop }
spec:
  rules: [{ to: [{ operation: { paths: [/ok, /slow] } }] }]
---
apiVersion: postern.dev/v1alpha1
kind: AuthorizationPolicy
metadata: { name: rego, namespace: shop }
spec:
  rules: [{ to: [{ operation: { paths: [/rego] } }] }]
  rego:
    module: |
      package envoy.authz
      default allow := false
      allow if input.parsed_path == ["rego"]
`
}

const EDIT = `
---
apiVersion: postern.dev/v1alpha1
kind: AuthorizationPolicy
metadata: { name: edit, namespace: shop }
spec:
  rules: [{ to: [{ operation: { paths: [PATH] } }] }]
`

export async function startLife(t: Test, options: LifeOptions = {}) {
  const app = await startApp(t)
  const [inbound = 0, health = 0, mesh = 0] = await freePorts(3)
  const dirs = { manifests: tempDir(t), controller: tempDir(t) }
  const state = options.state ?? tempDir(t)
  const runDir = options.hasDefaultRunDir === true ? join(state, 'run') : tempDir(t)
  const files = tempDir(t)
  const text = manifests({ inbound, app: app.port }, options.svidSeconds ?? 86_400)
  const write = (more = '') => writeFileSync(join(dirs.manifests, 'all.yaml'), text + more)
  write()
  const world: { controller: ControllerProcess; sidecar: TestProcess } = {
    controller: undefined as never,
    sidecar: undefined as never,
  }
  const token = join(files, 'token')
  const startControl = async () => {
    world.controller = startController(t, {
      ...{ manifests: dirs.manifests, state: dirs.controller },
      listen: `127.0.0.1:${mesh}`,
    })
    await world.controller.meshPort()
  }
  const startSidecar = () => {
    const args = [
      ...['--controller', `127.0.0.1:${mesh}`, '--join-token-file', token, '--state', state],
      ...(options.hasDefaultRunDir === true ? [] : ['--run-dir', runDir]),
      ...['--health', `127.0.0.1:${health}`, '--concurrency', '1'],
      ...['--decision-log', options.decisionLog ?? join(files, 'decisions.jsonl')],
      ...['--envoy', options.envoy ?? toolPath('envoy')],
      ...['--drain-seconds', `${options.drainSeconds ?? 5}`],
    ]
    const started = { env: options.env ?? {} }
    world.sidecar = startProcess(t, process.execPath, [CLI, 'sidecar', ...args], started)
  }
  const newToken = async () => {
    const made = await world.controller.postern('token', 'create', '--workload', 'shop/orders')
    writeFileSync(token, made, { mode: 0o600 })
  }
  const readiness = async (): Promise<{ ready: boolean; detail: string }> => {
    const response = await fetch(`http://127.0.0.1:${health}/readyz`)
    return (await response.json()) as { ready: boolean; detail: string }
  }
  const metric = async (name: string): Promise<number> => {
    const body = await (await fetch(`http://127.0.0.1:${health}/metrics`)).text()
    return Number(new RegExp(`^${name} (.*)$`, 'm').exec(body)?.[1])
  }
  const untilReady = () =>
    world.sidecar.waitFor(async () => (await readiness()).ready, {
      what: 'readiness',
      signal: AbortSignal.timeout(30_000),
    })
  /** Waits until the sidecar's health says so. */
  const untilSaid = (pattern: RegExp) =>
    waitFor(async () => pattern.exec((await readiness()).detail), {
      what: `${pattern} of health`,
      signal: AbortSignal.timeout(30_000),
    })
  /** A new policy lets `path` in; resolves when it does. Without a path it is taken back. */
  const edit = async (path: string) => {
    write(EDIT.replace('PATH', path))
    await waitFor(async () => (await statusOf(inbound, path)) === 200, {
      what: `an edit to be enforced: ${path}`,
      signal: AbortSignal.timeout(30_000),
    })
  }
  await startControl()
  await newToken()
  startSidecar()
  return {
    ...{ app, state, runDir, world, startControl, startSidecar, newToken, edit },
    ...{ readiness, metric, untilReady, untilSaid },
    ports: { inbound, health, mesh },
    controllerState: dirs.controller,
    call: (path: string, agent?: Agent) => call(inbound, path, agent),
    statusOf: (path: string) => statusOf(inbound, path),
    serial: () => serialOf(inbound),
    /** What the controller says of the workload. */
    connected: async (): Promise<string> => {
      const object = await world.controller.object('namespaces/shop/workloadentries/orders')
      const found = object?.status?.conditions?.find(({ type }) => type === 'Connected')
      return `${found?.status} ${found?.message}`
    },
  }
}

export type Life = Awaited<ReturnType<typeof startLife>>
