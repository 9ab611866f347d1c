/** Time as a parameter: core takes a Clock, main passes the real one. Epoch milliseconds. */
export interface Clock {
  /** Wall clock, epoch milliseconds. May jump. */
  now(): number
  /** Monotonic clock, milliseconds since an arbitrary start. Never jumps. */
  monotonic(): number
}
