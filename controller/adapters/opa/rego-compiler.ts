/**
 * Rego → WASM by the real `opa`: check (errors with places), parse (does it read the body?), build.
 * In: a RegoUnit. Out: the module's bytes and digest, or every problem at once. At most two run at a time.
 * Never optimises (`-O 1` panics on realistic policies) and never lets a policy reach the network.
 */
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { extract } from 'tar-stream'
import type { Problem } from '../../../common/errors.ts'
import { restrictCapabilities } from '../../core/rego/capabilities.ts'
import { rulePaths } from '../../core/rego/module-index.ts'
import { problemFromBuild, problemsFromCheck } from '../../core/rego/opa-errors.ts'
import { readsBody } from '../../core/rego/reads-body.ts'
import type { CompileResult, RegoCompiler, RegoUnit } from '../../runtime/ports.ts'
import { type OpaRun, runOpa } from './opa-process.ts'

/** A policy that takes longer is refused (ERR_REGO_TIMEOUT); ordinary ones take 30 ms. */
const TIMEOUT_MS = 20_000
/** Two: the machine's other half stays with the mesh. */
const CONCURRENCY = 2
/** RE2 makes 355 kB; a module beyond this would not fit the check worker's memory limits. */
const MAX_WASM_BYTES = 32 * 1024 * 1024
const SAFE_PATH = /^[a-z][A-Za-z0-9._-]*(?:\/[A-Za-z0-9_][A-Za-z0-9._-]*)*\.rego$/

export interface OpaRegoCompilerOptions {
  /** Path of the `opa` binary. */
  readonly binary: string
  /** Directory for temporary files; made when absent. */
  readonly tempDir: string
  /** Milliseconds for each run of `opa`. Default 20000. */
  readonly timeoutMs?: number
}

export class OpaRegoCompiler implements RegoCompiler {
  readonly #options: OpaRegoCompilerOptions
  readonly #capabilities = new Map<string, Promise<string>>()
  readonly #waiting: (() => void)[] = []
  #running = 0

  constructor(options: OpaRegoCompilerOptions) {
    this.#options = options
  }

  async compile(unit: RegoUnit, signal: AbortSignal): Promise<CompileResult> {
    await this.#enter()
    try {
      signal.throwIfAborted()
      const capabilities = await this.#capabilitiesFor(unit.regoVersion, signal)
      await mkdir(this.#options.tempDir, { recursive: true, mode: 0o700 })
      const dir = await mkdtemp(join(this.#options.tempDir, 'rego-'))
      try {
        return await this.#compileIn({ unit, dir, capabilities, signal })
      } finally {
        await rm(dir, { recursive: true, force: true })
      }
    } finally {
      this.#leave()
    }
  }

  async #compileIn(job: Job): Promise<CompileResult> {
    const names = await writeModules(job)
    const checked = await this.#check(job, names)
    if (checked !== undefined) return { ok: false, problems: checked }
    const trees = await this.#parse(job, [...names.keys()])
    const rules = [...new Set(trees.flatMap(rulePaths))].sort()
    const built = await this.#opa(job, [
      ...['build', '--target', 'wasm', '--optimize', '0', '--entrypoint', job.unit.entrypoint],
      ...['--capabilities', job.capabilities, '--output', 'bundle.tar.gz'],
      ...versionFlag(job.unit),
      ...names.keys(),
    ])
    if (built.timedOut) return { ok: false, problems: [timeoutProblem()] }
    if (built.code !== 0) {
      return { ok: false, problems: [problemFromBuild(printed(built), job.unit.entrypoint, rules)] }
    }
    const wasm = await extractWasm(join(job.dir, 'bundle.tar.gz'))
    const wasmDigest = createHash('sha256').update(wasm).digest('hex')
    return { ok: true, wasm, wasmDigest, readsBody: trees.some(readsBody), rules }
  }

  /** Problems of syntax and types, or undefined. */
  async #check(
    job: Job,
    names: ReadonlyMap<string, string>,
  ): Promise<readonly Problem[] | undefined> {
    const files = [...names.keys()]
    const run = await this.#opa(job, [
      ...['check', '--format', 'json', '--capabilities', job.capabilities],
      ...versionFlag(job.unit),
      ...files,
    ])
    if (run.timedOut) return [timeoutProblem()]
    if (run.code === 0) return undefined
    const output = printed(run)
    const parsesAs = output.includes('rego_parse_error')
      ? await this.#otherVersion(job, files)
      : undefined
    return problemsFromCheck(output, { moduleNames: names, parsesAs })
  }

  /** The version in which the modules are right, when theirs is not. */
  async #otherVersion(job: Job, files: readonly string[]): Promise<'V0' | 'V1' | undefined> {
    const other = job.unit.regoVersion === 'V1' ? 'V0' : 'V1'
    const run = await this.#opa(job, ['check', ...versionFlag({ regoVersion: other }), ...files])
    return run.code === 0 ? other : undefined
  }

  async #parse(job: Job, files: readonly string[]): Promise<unknown[]> {
    const trees: unknown[] = []
    for (const file of files) {
      const run = await this.#opa(job, [
        'parse',
        '--format',
        'json',
        ...versionFlag(job.unit),
        file,
      ])
      // An unreadable tree reads as "may read the body" and declares nothing.
      trees.push(run.code === 0 ? JSON.parse(run.stdout) : null)
    }
    return trees
  }

  #opa(job: Job, args: readonly string[]): Promise<OpaRun> {
    return runOpa(this.#options.binary, args, {
      cwd: job.dir,
      signal: job.signal,
      timeoutMs: this.#options.timeoutMs ?? TIMEOUT_MS,
    })
  }

  /** Path of the restricted capabilities, asked of this `opa` once per language version. */
  #capabilitiesFor(version: RegoUnit['regoVersion'], signal: AbortSignal): Promise<string> {
    const known = this.#capabilities.get(version)
    if (known !== undefined) return known
    const made = this.#makeCapabilities(version, signal)
    this.#capabilities.set(version, made)
    made.catch(() => this.#capabilities.delete(version))
    return made
  }

  async #makeCapabilities(version: RegoUnit['regoVersion'], signal: AbortSignal): Promise<string> {
    const { binary, tempDir } = this.#options
    await mkdir(tempDir, { recursive: true, mode: 0o700 })
    const flags = version === 'V0' ? ['--v0-compatible'] : []
    const run = await runOpa(binary, ['capabilities', '--current', ...flags], {
      cwd: tempDir,
      signal,
      timeoutMs: this.#options.timeoutMs ?? TIMEOUT_MS,
    })
    const path = join(tempDir, `capabilities-${version}.json`)
    await writeFile(path, JSON.stringify(restrictCapabilities(JSON.parse(run.stdout))))
    return path
  }

  async #enter(): Promise<void> {
    if (this.#running >= CONCURRENCY) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
      return
    }
    this.#running += 1
  }

  #leave(): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#running -= 1
    else next()
  }
}

interface Job {
  readonly unit: RegoUnit
  readonly dir: string
  readonly capabilities: string
  readonly signal: AbortSignal
}

function versionFlag(unit: Pick<RegoUnit, 'regoVersion'>): string[] {
  return unit.regoVersion === 'V0' ? ['--v0-compatible'] : []
}

/** `opa` prints errors to one or the other, by verb. */
function printed(run: OpaRun): string {
  return run.stderr.trim() === '' ? run.stdout : run.stderr
}

/** Writes the unit's modules below `dir`; returns file name → module name. Names that are no safe path get a number. */
async function writeModules(job: Job): Promise<ReadonlyMap<string, string>> {
  const names = new Map<string, string>()
  for (const [index, module] of job.unit.modules.entries()) {
    const safe = SAFE_PATH.test(module.name) && !module.name.includes('..')
    const file = safe ? module.name : `module-${index}.rego`
    names.set(file, module.name)
    await mkdir(dirname(join(job.dir, file)), { recursive: true })
    await writeFile(join(job.dir, file), module.text)
  }
  return names
}

async function extractWasm(path: string): Promise<Uint8Array> {
  const tar = gunzipSync(await readFile(path), { maxOutputLength: 2 * MAX_WASM_BYTES })
  const reader = extract()
  reader.end(tar)
  for await (const entry of reader) {
    const chunks: Buffer[] = []
    for await (const chunk of entry) chunks.push(chunk as Buffer)
    if (entry.header.name === '/policy.wasm') return new Uint8Array(Buffer.concat(chunks))
  }
  throw new Error('opa build wrote a bundle without policy.wasm')
}

function timeoutProblem(): Problem {
  return {
    code: 'ERR_REGO_TIMEOUT',
    field: 'spec.rego.module',
    message: 'the modules took too long to compile',
    remedy: 'make the modules smaller, or split the policy',
  }
}
