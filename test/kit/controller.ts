/**
 * The real controller process, for one test: `postern controller` on free ports, asked through its admin socket.
 */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import { askController } from '../../cli/admin-client.ts'
import type { Problem } from '../../common/errors.ts'
import type { PosternObject } from '../../controller/core/crd/index.ts'
import { startProcess, type TestProcess } from './process.ts'
import { toolPath } from './tools.ts'

const POSTERN = join(import.meta.dirname, '../../cli/main.ts')
const run = promisify(execFile)

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
  folders: { readonly manifests: string; readonly state: string },
): ControllerProcess {
  const { manifests, state } = folders
  const args = [POSTERN, 'controller', '--manifests', manifests, '--state', state]
  const ports = ['--listen', '127.0.0.1:0', '--health', '127.0.0.1:0', '--opa', toolPath('opa')]
  const child = startProcess(t, process.execPath, [...args, ...ports])
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
