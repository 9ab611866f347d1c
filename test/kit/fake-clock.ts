/** A clock that moves when it is told. `advance` moves both clocks; `jumpWall` is a wall clock set by hand. */
import type { Clock } from '../../common/clock.ts'

export class FakeClock implements Clock {
  #wallMs: number
  #monotonicMs = 1_000

  constructor(wallMs: number) {
    this.#wallMs = wallMs
  }

  now(): number {
    return this.#wallMs
  }

  monotonic(): number {
    return this.#monotonicMs
  }

  advance(ms: number): void {
    this.#wallMs += ms
    this.#monotonicMs += ms
  }

  jumpWall(ms: number): void {
    this.#wallMs += ms
  }

  /** The machine sleeps: the monotonic clock stands still. */
  sleep(ms: number): void {
    this.#wallMs += ms
  }
}
