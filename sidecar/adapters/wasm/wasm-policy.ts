/**
 * One Rego policy as an OPA WASM instance: its own memory, its own data, its own builtins' context.
 * In: a compiled module, data, an input as JSON text. Out: the entrypoint's value, or undefined.
 * After anything is thrown the instance is replaced: OPA's C stack pointer isn't restored when JavaScript throws
 * through WASM, and an instance that failed often enough would fail for ever (OPA_WASM §4).
 * Source: https://www.openpolicyagent.org/docs/wasm (ABI 1.x); imports are ours, evaluation is npm opa-wasm's.
 */
import { createRequire } from 'node:module'
import type { LoadedPolicy } from '@open-policy-agent/opa-wasm'
import { builtins } from './builtins/all.ts'
import { type BuiltinContext, BuiltinError } from './builtins/builtin.ts'
import { parseRego } from './rego-value.ts'

/** The package's ESM entry exports less than its types say. */
const opaWasm = createRequire(import.meta.url)(
  '@open-policy-agent/opa-wasm',
) as typeof import('@open-policy-agent/opa-wasm')

export interface WasmPolicyOptions {
  readonly module: WebAssembly.Module
  /** Slash path, `envoy/authz/allow`. */
  readonly entrypoint: string
  /** The base document. */
  readonly data: unknown
  /** Upper bound on the instance's memory. Default 64 MiB or ten times the data, whichever is more. */
  readonly maxMemoryBytes?: number
}

/** The module can't be used at all: another ABI, no such entrypoint, a built-in that is not here. */
export class WasmModuleError extends Error {
  override readonly name = 'WasmModuleError'
}

interface Exports {
  readonly opa_malloc: (size: number) => number
  readonly opa_json_parse: (address: number, length: number) => number
  readonly opa_json_dump: (address: number) => number
  /** As Rego's own text, which tells sets from arrays. */
  readonly opa_value_dump: (address: number) => number
  readonly builtins: () => number
  readonly opa_wasm_abi_version?: WebAssembly.Global
}

const PAGE_BYTES = 65_536
const DEFAULT_MAX_MEMORY = 64 * 1024 * 1024
/** Parsed data takes about ten times its JSON text; memory that grows page by page is slow (OPA_WASM §4). */
const DATA_FACTOR = 10
const MIN_PAGES = 5
/** Above what evaluations of usual inputs grow by, which is under 2 MiB (OPA_WASM §3). */
const KEPT_GROWTH_BYTES = 16 * 1024 * 1024
/**
 * npm opa-wasm evaluates by the older calls when told so. They take as long as `opa_eval`, and report an input that
 * can't be parsed, where `opa_eval` would evaluate without any input: an open door for `not input.x`.
 */
const ABI_MINOR = 1

export class WasmPolicy {
  readonly #options: WasmPolicyOptions
  readonly #data: ArrayBuffer
  #context: BuiltinContext = { nowNs: 0n }
  #policy: LoadedPolicy

  /** Errors: WasmModuleError; a RangeError when there is no memory for the data. */
  constructor(options: WasmPolicyOptions) {
    this.#options = options
    this.#data = encode(JSON.stringify(options.data ?? {}))
    this.#policy = this.#instantiate()
    if (!Object.hasOwn(this.#policy.entrypoints, options.entrypoint))
      throw new WasmModuleError(`module has no entrypoint ${options.entrypoint}`)
  }

  /**
   * The entrypoint's value for this input (JSON text of an object); undefined when the rule is undefined.
   * Throws an Error on a conflict, too much memory, or any other trap.
   */
  evaluate(inputJson: string, context: BuiltinContext): unknown {
    this.#context = context
    try {
      const results: unknown = this.#policy.evaluate(encode(inputJson), this.#options.entrypoint)
      this.#dropGrownMemory()
      return readResult(results)
    } catch (thrown) {
      this.#policy = this.#instantiate()
      throw toError(thrown)
    }
  }

  /** Size of the instance's memory now. */
  get memoryBytes(): number {
    return this.#policy.mem.buffer.byteLength
  }

  /** Memory never shrinks: one odd request must not hold it for ever. */
  #dropGrownMemory(): void {
    const grown = this.memoryBytes - this.#memorySize().initial * PAGE_BYTES
    if (grown > KEPT_GROWTH_BYTES) this.#policy = this.#instantiate()
  }

  #instantiate(): LoadedPolicy {
    const memory = new WebAssembly.Memory(this.#memorySize())
    const names = new Map<number, string>()
    let instance: WebAssembly.Instance | undefined
    const exports = () => instance?.exports as unknown as Exports
    const call = (id: number, _ctx: number, ...operands: number[]) =>
      this.#callBuiltin(memory, exports(), names.get(id) ?? String(id), operands)
    instance = new WebAssembly.Instance(this.#options.module, {
      env: {
        memory,
        opa_abort: (address: number) => {
          throw new Error(readText(memory, address))
        },
        opa_println: () => undefined,
        ...Object.fromEntries([0, 1, 2, 3, 4].map((n) => [`opa_builtin${n}`, call])),
      },
    })
    const abi = exports().opa_wasm_abi_version?.value
    if (abi !== 1) throw new WasmModuleError(`module has ABI ${abi}, not 1`)
    for (const [name, id] of Object.entries(readJson(memory, exports(), exports().builtins())))
      names.set(id as number, name)
    checkBuiltins([...names.values()])
    const policy = new opaWasm.LoadedPolicy(asSource(instance), memory, ABI_MINOR)
    policy.setData(this.#data)
    return policy
  }

  #memorySize(): { initial: number; maximum: number } {
    const dataBytes = this.#data.byteLength * DATA_FACTOR
    const maximum = this.#options.maxMemoryBytes ?? Math.max(DEFAULT_MAX_MEMORY, 2 * dataBytes)
    const pages = Math.ceil(maximum / PAGE_BYTES)
    return {
      initial: Math.min(MIN_PAGES + Math.ceil(dataBytes / PAGE_BYTES), pages),
      maximum: pages,
    }
  }

  #callBuiltin(
    memory: WebAssembly.Memory,
    exports: Exports,
    name: string,
    operands: readonly number[],
  ): number {
    const builtin = builtins.get(name)
    if (builtin === undefined) throw new Error(`builtin ${name} is not supported`)
    const values = operands.map((address) =>
      parseRego(readText(memory, exports.opa_value_dump(address))),
    )
    try {
      const result = builtin(this.#context, ...values)
      return result === undefined ? 0 : writeJson(memory, exports, result)
    } catch (error) {
      if (error instanceof BuiltinError) return 0
      throw error
    }
  }
}

/**
 * A newer controller may know built-ins that this sidecar lacks. Refused here, the last good set stays; at a request,
 * the call would be an error of the policy's, which `onError: Allow` lets pass.
 */
function checkBuiltins(names: readonly string[]): void {
  const missing = names.filter((name) => !builtins.has(name))
  if (missing.length === 0) return
  throw new WasmModuleError(`built-ins that this sidecar lacks: ${missing.sort().join(', ')}`)
}

/** npm opa-wasm takes an instance as well; its types name only the pair of module and instance. */
function asSource(instance: WebAssembly.Instance): WebAssembly.WebAssemblyInstantiatedSource {
  return instance as unknown as WebAssembly.WebAssemblyInstantiatedSource
}

function encode(text: string): ArrayBuffer {
  const bytes = new TextEncoder().encode(text)
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)
}

function readResult(results: unknown): unknown {
  if (!Array.isArray(results)) throw new Error('module gave no result set')
  if (results.length === 0) return undefined
  if (results.length > 1) throw new Error('module gave more than one result')
  return (results[0] as { result: unknown }).result
}

function readJson(memory: WebAssembly.Memory, exports: Exports, address: number): object {
  return JSON.parse(readText(memory, exports.opa_json_dump(address)))
}

function writeJson(memory: WebAssembly.Memory, exports: Exports, value: unknown): number {
  const bytes = Buffer.from(JSON.stringify(value, printIntegers))
  const address = exports.opa_malloc(bytes.length)
  new Uint8Array(memory.buffer).set(bytes, address)
  const parsed = exports.opa_json_parse(address, bytes.length)
  if (parsed === 0) throw new Error('builtin gave a value that is not JSON')
  return parsed
}

function printIntegers(_key: string, value: unknown): unknown {
  return typeof value === 'bigint'
    ? (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(value.toString())
    : value
}

/** A NUL-terminated UTF-8 text. */
function readText(memory: WebAssembly.Memory, address: number): string {
  const bytes = Buffer.from(memory.buffer)
  return bytes.toString('utf8', address, bytes.indexOf(0, address))
}

/** npm opa-wasm throws strings. */
function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown))
}
