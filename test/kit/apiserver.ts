/**
 * A real kube-apiserver with a real etcd, on loopback and in a temporary directory, for one test file.
 * Both end with the test. No cluster, no kubelet: only the API.
 */
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { Agent, request as httpsRequest } from 'node:https'
import { join } from 'node:path'
import type { Test } from 'tap'
import { freePorts } from './ports.ts'
import { startProcess } from './process.ts'
import { tempDir } from './tempdir.ts'
import { toolPath } from './tools.ts'

export interface ApiResponse {
  readonly status: number
  /** The JSON object of the answer: an object or a `Status`. */
  readonly body: Readonly<Record<string, unknown>>
}

/** A request body: a JSON value, or text with its own content type. */
export type ApiBody =
  | { readonly json: unknown }
  | { readonly text: string; readonly contentType: string }

export interface ApiServer {
  request(method: string, path: string, body?: ApiBody): Promise<ApiResponse>
  /** Path of a kubeconfig; as the all-powerful user, or with this token. */
  kubeconfig(token?: string): string
  /** Ends the API server at once; etcd stays, and so does all that was written. */
  kill(): Promise<void>
  /** Starts it again, on the same port, and waits until it is ready. */
  restart(): Promise<void>
}

const START_TIMEOUT_MS = 60_000

/** Starts both and waits until the API server is ready. `flags` are added, and beat what is there. */
export async function startApiServer(
  t: Pick<Test, 'teardown' | 'fail'>,
  flags: readonly string[] = [],
): Promise<ApiServer> {
  const dir = tempDir(t)
  const [clientPort = 0, peerPort = 0, port = 0] = await freePorts(3)
  const etcd = startProcess(t, toolPath('etcd'), etcdFlags(dir, clientPort, peerPort))
  const token = writeCredentials(dir)
  const all = [...apiserverFlags(dir, clientPort, port), ...flags]
  const start = () => startProcess(t, toolPath('kube-apiserver'), all)
  let apiserver = start()
  t.teardown(async () => {
    // Nothing is worth a graceful end here, and without etcd the API server would wait for it.
    await apiserver.stop('SIGKILL')
    await etcd.stop('SIGKILL')
  })
  const certificate = join(dir, 'tls', 'apiserver.crt')
  let request: ApiServer['request'] | undefined
  const isReady = async () => {
    request ??= buildClient(port, token, readFileSync(certificate))
    return (await request('GET', '/readyz')).status === 200 ? request : undefined
  }
  const untilReady = () =>
    apiserver.waitFor(isReady, {
      signal: AbortSignal.timeout(START_TIMEOUT_MS),
      what: 'a ready API server',
    })
  return {
    request: await untilReady(),
    kubeconfig: (as = token) => writeKubeconfig(dir, { port, token: as, certificate }),
    kill: async () => void (await apiserver.stop('SIGKILL')),
    restart: async () => {
      apiserver = start()
      await untilReady()
    },
  }
}

function writeKubeconfig(
  dir: string,
  { port, token, certificate }: { port: number; token: string; certificate: string },
): string {
  const path = join(dir, `kubeconfig-${randomBytes(4).toString('hex')}`)
  const cluster = { server: `https://127.0.0.1:${port}`, 'certificate-authority': certificate }
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'test', cluster }],
    users: [{ name: 'test', user: { token } }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
    'current-context': 'test',
  }
  writeFileSync(path, JSON.stringify(config), { mode: 0o600 })
  return path
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

/** The serving certificate is the API server's own, made in `--cert-dir`. */
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

/** Returns the bearer token of the one user. */
function writeCredentials(dir: string): string {
  const token = randomBytes(16).toString('hex')
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' })
  writeFileSync(join(dir, 'sa.key'), pem, { mode: 0o600 })
  const line = `${token},admin,admin,"system:masters"\n`
  writeFileSync(join(dir, 'tokens.csv'), line, { mode: 0o600 })
  return token
}

function buildClient(port: number, token: string, ca: Buffer): ApiServer['request'] {
  const agent = new Agent({ keepAlive: true, maxSockets: 8, ca })
  return (method, path, body) =>
    new Promise((resolve, reject) => {
      const headers = {
        authorization: `Bearer ${token}`,
        accept: 'application/json',
        ...(body && { 'content-type': 'text' in body ? body.contentType : 'application/json' }),
      }
      const req = httpsRequest({ host: '127.0.0.1', port, method, path, agent, headers })
      req.on('error', reject)
      req.on('response', (res) => {
        const chunks: Buffer[] = []
        res.on('data', (chunk: Buffer) => chunks.push(chunk))
        res.on('error', reject)
        res.on('end', () => {
          const text = Buffer.concat(chunks).toString()
          resolve({ status: res.statusCode ?? 0, body: parseBody(text) })
        })
      })
      req.end(body && ('text' in body ? body.text : JSON.stringify(body.json)))
    })
}

function parseBody(text: string): Record<string, unknown> {
  return text.startsWith('{') ? JSON.parse(text) : { message: text }
}
