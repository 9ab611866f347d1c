/**
 * The whole of Postern, standalone, on loopback: one controller, a sidecar with its Envoy for each workload, the apps.
 * The demo and the drills share it. In: a work folder. Out: handles to kill and restart parts.
 */
import { execFile } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { type Child, probe, startNode, waitFor } from './process.ts'
import { appsAt, BASE_PORT, type Ports, portsAt, shiftPorts, WORKLOADS } from './shop.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const POSTERN = fileURLToPath(new URL('../cli/main.ts', import.meta.url))
const SERVICE = fileURLToPath(new URL('./service.ts', import.meta.url))
const MANIFESTS = fileURLToPath(new URL('./manifests', import.meta.url))
const READY_MS = 30_000

export interface StackOptions {
  readonly work: string
  /** Another version's `cli/main.ts`, by `controller` or workload. */
  readonly programs?: Readonly<Record<string, string>>
  /** Added to every port of the manifests and of the processes, so that stacks run side by side. Default 0. */
  readonly portOffset?: number
  /** Changes the text of each manifest before the start. */
  readonly edit?: (text: string) => string
  /** Who gets a sidecar at the start, `namespace/name`. Default: the demo's four. */
  readonly workloads?: readonly string[]
  /** More manifests, by file name; they replace the demo's of that name. Ports are moved by `portOffset`. */
  readonly more?: Readonly<Record<string, string>>
  readonly sidecarArgs?: readonly string[]
}

const run = promisify(execFile)

function dirName(workload: string): string {
  return workload.replace('/', '.')
}

/** A stack that is being started, runs, or was stopped. */
export class Stack {
  readonly work: string
  /** Work copy of the manifests: edit these. */
  readonly manifests: string
  readonly state: string
  readonly ports: Ports
  readonly controllerPort: number
  readonly sidecars = new Map<string, Child>()
  /** Another version's `cli/main.ts`, by `controller` or workload: for what starts from now on. */
  readonly programs = new Map<string, string>()
  readonly apps: Child[] = []
  controller: Child | undefined
  #isStopped = false
  readonly #offset: number
  readonly #workloads: readonly string[]
  /** Health ports are given out by first use. */
  readonly #healthPorts: (string | undefined)[] = []
  readonly #sidecarArgs: readonly string[]

  constructor(options: StackOptions) {
    this.work = options.work
    this.manifests = join(options.work, 'manifests')
    this.state = join(options.work, 'controller')
    this.#offset = options.portOffset ?? 0
    this.#workloads = options.workloads ?? WORKLOADS
    for (const [part, cli] of Object.entries(options.programs ?? {})) this.programs.set(part, cli)
    this.#healthPorts.push(...this.#workloads)
    this.#sidecarArgs = options.sidecarArgs ?? []
    this.ports = portsAt(this.#offset)
    this.controllerPort = BASE_PORT + this.#offset
    mkdirSync(this.manifests, { recursive: true })
    mkdirSync(this.state, { mode: 0o700, recursive: true })
    const files = Object.fromEntries(
      readdirSync(MANIFESTS).map((file) => [file, readFileSync(join(MANIFESTS, file), 'utf8')]),
    )
    for (const [file, text] of Object.entries({ ...files, ...options.more })) {
      const shifted = this.shift(text)
      writeFileSync(join(this.manifests, file), options.edit?.(shifted) ?? shifted)
    }
  }

  /** A manifest's text with its ports where this stack has them. */
  shift(text: string): string {
    return shiftPorts(text, this.#offset)
  }

  startApps(): void {
    for (const args of appsAt(this.#offset)) {
      const name = args[0] ?? ''
      const logFile = join(this.work, `app-${name}.log`)
      this.apps.push(startNode({ name, args: [SERVICE, ...args], logFile }))
    }
  }

  async startController(): Promise<void> {
    const child = startNode({
      name: 'controller',
      args: [
        this.programs.get('controller') ?? POSTERN,
        'controller',
        ...['--opa', join(ROOT, '.tools/opa')],
        ...['--manifests', this.manifests, '--state', this.state],
        ...['--listen', `127.0.0.1:${this.controllerPort}`],
        ...['--health', `127.0.0.1:${this.controllerPort + 1}`],
      ],
      logFile: join(this.work, 'controller.log'),
    })
    this.controller = child
    const isReady = async () => (await probe(this.controllerPort + 1, '/readyz')) === 200
    await waitFor('the controller is ready', isReady, { timeoutMs: READY_MS, child })
  }

  /** With a join token the first time, without one later: the state directory is enough then. */
  async startSidecar(workload: string): Promise<Child> {
    const state = this.stateOf(workload)
    mkdirSync(state, { mode: 0o700, recursive: true })
    const tokenFile = join(state, 'join-token')
    if (!this.sidecars.has(workload)) {
      writeFileSync(tokenFile, await this.createToken(workload), { mode: 0o600 })
    }
    if (this.#isStopped) throw new Error(`stopped before the sidecar of ${workload} started`)
    const child = startNode({
      name: `sidecar ${workload}`,
      args: [
        this.programs.get(workload) ?? POSTERN,
        'sidecar',
        ...['--envoy', join(ROOT, '.tools/envoy')],
        ...['--join-token-file', tokenFile, '--controller', `127.0.0.1:${this.controllerPort}`],
        ...['--state', state, '--health', `127.0.0.1:${this.healthPort(workload)}`],
        ...['--decision-log', this.decisionLog(workload), ...this.#sidecarArgs],
      ],
      logFile: join(this.work, `sidecar-${dirName(workload)}.log`),
    })
    this.sidecars.set(workload, child)
    return child
  }

  async untilReady(workload: string, timeoutMs = READY_MS): Promise<void> {
    const child = this.sidecars.get(workload)
    const isReady = async () => (await probe(this.healthPort(workload), '/readyz')) === 200
    const options = child === undefined ? { timeoutMs } : { timeoutMs, child }
    await waitFor(`the sidecar of ${workload} is ready`, isReady, options)
  }

  async createToken(workload: string): Promise<string> {
    return (await this.postern('token', 'create', '--workload', workload)).trim()
  }

  /** Runs the command line against this controller; resolves with its stdout. */
  async postern(...args: string[]): Promise<string> {
    return (await run(process.execPath, [POSTERN, ...args, '--state', this.state])).stdout
  }

  healthPort(workload: string): number {
    let slot = this.#healthPorts.indexOf(workload)
    if (slot === -1) slot = this.#healthPorts.indexOf(undefined)
    if (slot === -1) slot = this.#healthPorts.length
    this.#healthPorts[slot] = workload
    return this.controllerPort + 2 + slot
  }

  /** A workload that is no more: its sidecar has ended, its health port is free again. */
  forget(workload: string): void {
    this.sidecars.delete(workload)
    const slot = this.#healthPorts.indexOf(workload)
    if (slot !== -1) this.#healthPorts[slot] = undefined
  }

  stateOf(workload: string): string {
    return join(this.work, dirName(workload))
  }

  decisionLog(workload: string): string {
    return join(this.stateOf(workload), 'decisions.jsonl')
  }

  /** Starts the apps, the controller and all sidecars; resolves when each says that it is ready. */
  async start(): Promise<void> {
    this.startApps()
    await this.startController()
    await Promise.all(this.#workloads.map((workload) => this.startSidecar(workload)))
    await Promise.all(this.#workloads.map((workload) => this.untilReady(workload)))
  }

  /** Ends all children; also in the middle of `start()`, which fails then. */
  async stop(): Promise<void> {
    this.#isStopped = true
    await Promise.all([...this.sidecars.values(), ...this.apps].map((child) => child.stop()))
    await this.controller?.stop()
  }
}

/** A stack that has started; what had started is ended again when one part fails. */
export async function startStack(options: StackOptions): Promise<Stack> {
  const stack = new Stack(options)
  try {
    await stack.start()
    return stack
  } catch (error) {
    await stack.stop()
    throw error
  }
}
