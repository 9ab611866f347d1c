/**
 * The decision log as a file or standard output: one JSON line a record, appended synchronously, so that a record is
 * with the kernel before the answer leaves. Two threads may append to one file; each line is one write.
 * A file that was rotated away is opened anew.
 */
import { closeSync, fstatSync, openSync, statSync, writeSync } from 'node:fs'

/** `-` for standard output, else a path. */
export type DecisionLogTarget = string

const STDOUT_FD = 1
/** No descriptor: a closed log must not write to a file that got its number since. */
const CLOSED = -1
/** How often the path is compared with the open file. */
const ROTATION_CHECK_MS = 1000
/** A pipe whose reader is slow: wait so long for room, then give up. */
const FULL_PIPE_WAIT_MS = 50
const FULL_PIPE_STEP_MS = 2

export class DecisionLogFile {
  readonly #path: string | undefined
  readonly #nowMs: () => number
  #fd: number
  #checkedAtMs: number
  /** The last line was written in part: the next one starts on a line of its own. */
  #isTorn = false

  /** Throws when the file can't be opened. */
  constructor(target: DecisionLogTarget, monotonicMs: () => number = () => performance.now()) {
    this.#nowMs = monotonicMs
    this.#checkedAtMs = monotonicMs()
    this.#path = target === '-' ? undefined : target
    this.#fd = this.#path === undefined ? STDOUT_FD : open(this.#path)
  }

  /** Appends one record; false when it could not be written whole. Never throws. */
  append(record: unknown): boolean {
    try {
      if (this.#nowMs() - this.#checkedAtMs > ROTATION_CHECK_MS) this.#followRotation()
      const line = `${this.#isTorn ? '\n' : ''}${JSON.stringify(record)}\n`
      this.#isTorn = true
      writeWhole(this.#fd, Buffer.from(line))
      this.#isTorn = false
      return true
    } catch {
      return false
    }
  }

  /** Opens the path again, after a rotation. Keeps the old file when that fails. */
  reopen(): void {
    if (this.#path === undefined) return
    const old = this.#fd
    this.#fd = open(this.#path)
    this.#isTorn = false
    closeSync(old)
  }

  close(): void {
    if (this.#path !== undefined && this.#fd !== CLOSED) closeSync(this.#fd)
    this.#fd = CLOSED
  }

  #followRotation(): void {
    this.#checkedAtMs = this.#nowMs()
    if (this.#path === undefined) return
    const now = statSync(this.#path, { throwIfNoEntry: false })
    const opened = fstatSync(this.#fd)
    if (now === undefined || now.ino !== opened.ino || now.dev !== opened.dev) this.reopen()
  }
}

function open(path: string): number {
  return openSync(path, 'a', 0o600)
}

function writeWhole(fd: number, bytes: Uint8Array): void {
  let written = 0
  let waitedMs = 0
  while (written < bytes.length) {
    try {
      written += writeSync(fd, bytes, written)
    } catch (error) {
      const isFull = (error as NodeJS.ErrnoException).code === 'EAGAIN'
      if (!isFull || waitedMs >= FULL_PIPE_WAIT_MS) throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, FULL_PIPE_STEP_MS)
      waitedMs += FULL_PIPE_STEP_MS
    }
  }
}
