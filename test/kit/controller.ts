/**
 * The real controller process, for one test: `postern controller` on free ports, asked through its admin socket.
 */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import { askController } from '../../cli/admin-client.ts'
import type { Problem } from '../../common/errors.ts'
import { Secret } from '../../common/secret.ts'
import type { PosternObject } from '../../controller/core/crd/index.ts'
import { nodeKeys } from '../../sidecar/adapters/crypto/keys.ts'
import { createIdentityState } from '../../sidecar/adapters/fs/identity-state.ts'
import { createCsrClient } from '../../sidecar/adapters/grpc/csr-client.ts'
import type { Svid } from '../../sidecar/ports.ts'
import { Attester } from '../../sidecar/runtime/identity-attest.ts'
import { startProcess, type TestProcess } from './process.ts'
import { tempDir } from './tempdir.ts'
import { toolPath } from './tools.ts'

const POSTERN = join(import.meta.dirname, '../../cli/main.ts')
const run = promisify(execFile)
const clock = { now: () => Date.now(), monotonic: () => performance.now() }

export interface Published {
  readonly generation: string | null
  readonly workloads: readonly {
    readonly nodeId: string
    readonly generation: string
    readonly revision: string
  }[]
}

export interface ControllerProcess {
  readonly process: TestProcess
  readonly state: string
  /** Waits until its admin socket answers and says the port of its log line. */
  meshPort(): Promise<number>
  healthPort(): Promise<number>
  problems(): Promise<readonly Problem[]>
  published(): Promise<Published>
  object(path: string): Promise<PosternObject | undefined>
  /** The command line against this controller; resolves with its stdout. */
  postern(...args: string[]): Promise<string>
  /** Log records with this message, newest last. */
  logged(message: string): readonly Record<string, unknown>[]
}

export function startController(
  t: Pick<Test, 'teardown' | 'fail'>,
  folders: {
    /** Absent: `kubeconfig` says where objects are. */
    readonly manifests?: string
    readonly kubeconfig?: string
    readonly env?: Readonly<Record<string, string>>
    readonly state: string
    /** `HOST:PORT` for sidecars. Default: a free port. */
    readonly listen?: string
  },
): ControllerProcess {
  const { manifests, kubeconfig = '', state, listen = '127.0.0.1:0' } = folders
  const source =
    manifests === undefined
      ? ['--source', 'kubernetes', '--kubeconfig', kubeconfig]
      : ['--manifests', manifests]
  const args = [POSTERN, 'controller', ...source, '--state', state]
  const ports = ['--listen', listen, '--health', '127.0.0.1:0', '--opa', toolPath('opa')]
  const child = startProcess(t, process.execPath, [...args, ...ports], {
    env: folders.env ?? {},
  })
  const ask = (path: string) => askController(state, 'GET', path)
  const portOf = async (message: string) => {
    const [line] = await child.waitForLine(new RegExp(`^.*"msg":"${message}".*$`))
    return Number((JSON.parse(line) as { port: number }).port)
  }
  return {
    process: child,
    state,
    meshPort: () => portOf('sidecars may connect'),
    healthPort: () => portOf('health and metrics are served'),
    problems: async () => ((await ask('/problems')) as { items: readonly Problem[] }).items,
    published: async () => (await ask('/published')) as Published,
    object: async (path) => (await ask(`/apis/postern.dev/v1alpha1/${path}`)) as PosternObject,
    postern: async (...more) =>
      (await run(process.execPath, [POSTERN, ...more, '--state', state])).stdout,
    logged: (message) =>
      child.lines
        .filter((line) => line.startsWith('{'))
        .map((line) => JSON.parse(line) as Record<string, unknown>)
        .filter((record) => record.msg === message),
  }
}

/** The workload's SVID from this controller, by the sidecar's own way: join token, key in memory, CSR. */
export async function fetchSvid(
  t: Pick<Test, 'teardown'>,
  controller: ControllerProcess,
  workload: string,
): Promise<Svid> {
  const text = await controller.postern('token', 'create', '--workload', workload)
  const token = new Secret(text.trim())
  const target = `127.0.0.1:${await controller.meshPort()}`
  const attester = new Attester({
    state: createIdentityState(tempDir(t)),
    client: createCsrClient({ controller: target, clock }),
    keys: nodeKeys,
    readJoinToken: async () => token,
    clock,
    instanceId: randomBytes(16).toString('hex'),
  })
  return await attester.attest(undefined, AbortSignal.timeout(10_000))
}
