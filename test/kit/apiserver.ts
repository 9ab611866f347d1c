/**
 * A real kube-apiserver with a real etcd, on loopback and in a temporary directory, for one test file.
 * Both end with the test: by `stop`, or by the kernel when the test process dies. No cluster, no kubelet.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { Agent, request as httpsRequest } from 'node:https'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

export interface ApiResponse {
  readonly status: number
  /** The JSON object of the answer, an object or a `Status`. */
  readonly body: Readonly<Record<string, unknown>>
}

export interface ApiServer {
  readonly url: string
  request(method: string, path: string, body?: ApiBody): Promise<ApiResponse>
  stop(): Promise<void>
}

/** A request body: a JSON value, or text with its own content type. */
export type ApiBody =
  | { readonly json: unknown; readonly contentType?: string }
  | { readonly text: string; readonly contentType: string }

const START_TIMEOUT_MS = 60_000
const POLL_MS = 50

/** Path of a tool that `make tools` built, or undefined when it isn't there. */
export function apiserverTools(): { etcd: string; apiserver: string } | undefined {
  const tools = join(import.meta.dirname, '..', '..', '.tools')
  const etcd = join(tools, 'etcd')
  const apiserver = join(tools, 'kube-apiserver')
  return existsSync(etcd) && existsSync(apiserver) ? { etcd, apiserver } : undefined
}

/** Starts both and waits until the API server is ready. Throws with its log when it does not come up. */
export async function startApiServer(tools: {
  etcd: string
  apiserver: string
}): Promise<ApiServer> {
  const dir = await mkdtemp(join(tmpdir(), 'postern-apiserver-'))
  const children: Child[] = []
  const stop = async () => {
    for (const child of children.toReversed()) await child.stop()
    await rm(dir, { recursive: true, force: true })
  }
  try {
    const [clientPort, peerPort, port] = await freePorts(3)
    children.push(startChild(tools.etcd, etcdFlags(dir, clientPort, peerPort)))
    const token = await writeCredentials(dir)
    const apiserver = startChild(tools.apiserver, apiserverFlags(dir, clientPort, port))
    children.push(apiserver)
    const call = await connect(dir, port, token, apiserver)
    return { url: `https://127.0.0.1:${port}`, request: call, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

function etcdFlags(dir: string, clientPort: number, peerPort: number): string[] {
  const client = `http://127.0.0.1:${clientPort}`
  const peer = `http://127.0.0.1:${peerPort}`
  return [
    `--data-dir=${join(dir, 'etcd')}`,
    `--listen-client-urls=${client}`,
    `--advertise-client-urls=${client}`,
    `--listen-peer-urls=${peer}`,
    `--initial-advertise-peer-urls=${peer}`,
    `--initial-cluster=default=${peer}`,
    '--unsafe-no-fsync',
    '--log-level=error',
  ]
}

function apiserverFlags(dir: string, etcdPort: number, port: number): string[] {
  return [
    `--etcd-servers=http://127.0.0.1:${etcdPort}`,
    '--bind-address=127.0.0.1',
    '--advertise-address=127.0.0.1',
    `--secure-port=${port}`,
    `--cert-dir=${join(dir, 'tls')}`,
    `--token-auth-file=${join(dir, 'tokens.csv')}`,
    '--authorization-mode=AlwaysAllow',
    '--service-account-issuer=https://kubernetes.default.svc',
    `--service-account-signing-key-file=${join(dir, 'sa.key')}`,
    `--service-account-key-file=${join(dir, 'sa.key')}`,
    '--service-cluster-ip-range=10.0.0.0/24',
    '--endpoint-reconciler-type=none',
    '--enable-priority-and-fairness=false',
    '--profiling=false',
  ]
}

async function writeCredentials(dir: string): Promise<string> {
  const token = randomBytes(16).toString('hex')
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' })
  await writeFile(join(dir, 'sa.key'), pem, { mode: 0o600 })
  const line = `${token},admin,admin,"system:masters"\n`
  await writeFile(join(dir, 'tokens.csv'), line, { mode: 0o600 })
  return token
}

async function connect(
  dir: string,
  port: number,
  token: string,
  child: Child,
): Promise<ApiServer['request']> {
  const deadline = Date.now() + START_TIMEOUT_MS
  let call: ApiServer['request'] | undefined
  for (;;) {
    if (child.exited()) throw new Error(`kube-apiserver ended:\n${child.log()}`)
    if (Date.now() > deadline) throw new Error(`kube-apiserver is not ready:\n${child.log()}`)
    try {
      call ??= buildClient(port, token, await readFile(join(dir, 'tls', 'apiserver.crt')))
      if ((await call('GET', '/readyz')).status === 200) return call
    } catch {
      // Not listening yet, or its certificate is not written yet.
    }
    await delay(POLL_MS)
  }
}

function buildClient(port: number, token: string, ca: Buffer): ApiServer['request'] {
  const agent = new Agent({ keepAlive: true, maxSockets: 8, ca })
  return (method, path, body) =>
    new Promise((resolve, reject) => {
      const text =
        body === undefined ? undefined : 'text' in body ? body.text : JSON.stringify(body.json)
      const req = httpsRequest({
        host: '127.0.0.1',
        port,
        method,
        path,
        agent,
        headers: {
          authorization: `Bearer ${token}`,
          accept: 'application/json',
          ...(body && { 'content-type': body.contentType ?? 'application/json' }),
        },
      })
      req.on('error', reject)
      req.on('response', (res) => {
        const chunks: Buffer[] = []
        res.on('data', (chunk: Buffer) => chunks.push(chunk))
        res.on('error', reject)
        res.on('end', () => {
          const answer = Buffer.concat(chunks).toString()
          resolve({ status: res.statusCode ?? 0, body: parseBody(answer) })
        })
      })
      req.end(text)
    })
}

function parseBody(text: string): Record<string, unknown> {
  return text.startsWith('{') ? JSON.parse(text) : { message: text }
}

interface Child {
  exited(): boolean
  log(): string
  stop(): Promise<void>
}

/** Starts a program that the kernel kills when this process dies. Keeps the end of its log. */
function startChild(program: string, flags: readonly string[]): Child {
  const child: ChildProcess = spawn('setpriv', ['--pdeathsig', 'KILL', program, ...flags], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let log = ''
  let exited = false
  child.stderr?.on('data', (chunk: Buffer) => {
    log = (log + chunk.toString()).slice(-8_000)
  })
  const end = once(child, 'exit').then(() => {
    exited = true
  })
  return {
    exited: () => exited,
    log: () => log,
    stop: async () => {
      child.kill('SIGKILL')
      await end
    },
  }
}

/** Ports on loopback that were free a moment ago, all different. */
async function freePorts<const N extends number>(
  count: N,
): Promise<number[] & { length: N } & [number, number, number]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  const ports: number[] = []
  for (const server of servers) {
    if (!server.listening) await once(server, 'listening')
    const address = server.address()
    if (address === null || typeof address === 'string') throw new Error('no port')
    ports.push(address.port)
  }
  for (const server of servers) server.close()
  return ports as never
}
