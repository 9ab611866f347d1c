/**
 * How many decisions could not be written to the decision log, in memory that the check worker and the main thread share:
 * it outlives the worker.
 */
export class LostCount {
  readonly memory: SharedArrayBuffer
  readonly #count: BigInt64Array

  constructor(memory = new SharedArrayBuffer(8)) {
    this.memory = memory
    this.#count = new BigInt64Array(memory)
  }

  add(): void {
    Atomics.add(this.#count, 0, 1n)
  }

  value(): number {
    return Number(Atomics.load(this.#count, 0))
  }
}
