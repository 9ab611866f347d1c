/**
 * The part of the WebAssembly API that Node has and TypeScript declares only in its browser library.
 * Source: WebAssembly JavaScript Interface, https://www.w3.org/TR/wasm-js-api
 */
declare namespace WebAssembly {
  class Module {
    constructor(bytes: Uint8Array)
  }
  class Memory {
    constructor(descriptor: { initial: number; maximum?: number })
    readonly buffer: ArrayBuffer
  }
  class Global {
    readonly value: unknown
  }
  class Instance {
    constructor(module: Module, imports: Record<string, Record<string, unknown>>)
    readonly exports: Record<string, unknown>
  }
  interface WebAssemblyInstantiatedSource {
    readonly module: Module
    readonly instance: Instance
  }
  /** Compiles away from the calling thread. */
  function compile(bytes: Uint8Array): Promise<Module>
}
