/**
 * The decision log, or the access log, as a file or standard output: one JSON line a record, appended synchronously, so that a record is
 * with the kernel before the answer leaves. Two threads may append to one file; each line is one write.
 * A file that was rotated away is opened anew; while that fails, records go on to the one that was rotated away.
 */
import { closeSync, fstatSync, openSync, readSync, statSync, writeSync } from 'node:fs'

/** `-` for standard output, else a path. */
export type DecisionLogTarget = string

const STDOUT_FD = 1
const NEWLINE = 0x0a
/** No descriptor: a closed log must not write to a file that got its number since. */
const CLOSED = -1
/** How often the path is compared with the open file. */
const ROTATION_CHECK_MS = 1000
/** A pipe whose reader is slow: wait so long for room, then give up. */
const FULL_PIPE_WAIT_MS = 50
const FULL_PIPE_STEP_MS = 2

export interface LogFileOptions {
  readonly monotonicMs?: () => number
  /** `torn` of the other thread that writes to this target. */
  readonly torn?: SharedArrayBuffer
  /** How long a record may wait for the reader of a pipe. */
  readonly fullPipeWaitMs?: number
  /** Told once when a rotated file can't be opened again, until it can. */
  readonly onFault?: (fault: unknown) => void
}

export class DecisionLogFile {
  readonly #path: string | undefined
  readonly #nowMs: () => number
  readonly #waitMs: number
  readonly #onFault: (fault: unknown) => void
  #isFaulty = false
  #fd: number
  #checkedAtMs: number
  /** The last line was written in part: the next one, of whichever thread, starts on a line of its own. */
  readonly torn: SharedArrayBuffer
  readonly #torn: Int32Array

  /** Throws when the file can't be opened. */
  constructor(target: DecisionLogTarget, options: LogFileOptions = {}) {
    this.#nowMs = options.monotonicMs ?? (() => performance.now())
    this.#waitMs = options.fullPipeWaitMs ?? FULL_PIPE_WAIT_MS
    this.#onFault = options.onFault ?? (() => {})
    this.torn = options.torn ?? new SharedArrayBuffer(4)
    this.#torn = new Int32Array(this.torn)
    this.#checkedAtMs = this.#nowMs()
    this.#path = target === '-' ? undefined : target
    this.#fd = this.#path === undefined ? STDOUT_FD : open(this.#path)
    if (this.#path !== undefined && endsWithinLine(this.#path)) Atomics.store(this.#torn, 0, 1)
  }

  /** Appends one record; false when it could not be written whole. Never throws. */
  append(record: unknown): boolean {
    try {
      if (this.#nowMs() - this.#checkedAtMs > ROTATION_CHECK_MS) this.#followRotation()
      const json = `${JSON.stringify(record)}\n`
      const isTorn = Atomics.exchange(this.#torn, 0, 0) === 1
      const bytes = Buffer.from(isTorn ? `\n${json}` : json)
      const written = writeWhole(this.#fd, bytes, this.#waitMs)
      if (written === bytes.length) return true
      if (isTorn || written > 0) Atomics.store(this.#torn, 0, 1)
      return false
    } catch {
      return false
    }
  }

  /** Opens the path again, after a rotation. Keeps the old file when that fails, says so, and tries again. */
  reopen(): void {
    if (this.#path === undefined || this.#fd === CLOSED) return
    const old = this.#fd
    try {
      this.#fd = open(this.#path)
    } catch (fault) {
      if (!this.#isFaulty) this.#onFault(fault)
      this.#isFaulty = true
      return
    }
    this.#isFaulty = false
    Atomics.store(this.#torn, 0, Number(endsWithinLine(this.#path)))
    closeSync(old)
  }

  close(): void {
    if (this.#path !== undefined && this.#fd !== CLOSED) closeSync(this.#fd)
    this.#fd = CLOSED
  }

  #followRotation(): void {
    this.#checkedAtMs = this.#nowMs()
    if (this.#path === undefined) return
    const now = statOf(this.#path)
    const opened = fstatSync(this.#fd)
    if (now === undefined || now.ino !== opened.ino || now.dev !== opened.dev) this.reopen()
  }
}

/** A path that can't be looked at, its folder gone or closed to us, is no file either. */
function statOf(path: string) {
  try {
    return statSync(path, { throwIfNoEntry: false })
  } catch {
    return undefined
  }
}

function open(path: string): number {
  return openSync(path, 'a', 0o600)
}

/** Whether a regular file ends without a line end, as after a full disk or a kill. One that we can't read: no. */
function endsWithinLine(path: string): boolean {
  let fd = CLOSED
  try {
    const { size } = statSync(path)
    if (size === 0) return false
    fd = openSync(path, 'r')
    const last = Buffer.alloc(1)
    return readSync(fd, last, 0, 1, size - 1) === 1 && last[0] !== NEWLINE
  } catch {
    return false
  } finally {
    if (fd !== CLOSED) closeSync(fd)
  }
}

/** How many bytes could be written. */
function writeWhole(fd: number, bytes: Uint8Array, waitMs: number): number {
  let written = 0
  let waitedMs = 0
  while (written < bytes.length) {
    try {
      written += writeSync(fd, bytes, written)
    } catch (error) {
      const isFull = (error as NodeJS.ErrnoException).code === 'EAGAIN'
      if (!isFull || waitedMs >= waitMs) return written
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, FULL_PIPE_STEP_MS)
      waitedMs += FULL_PIPE_STEP_MS
    }
  }
  return written
}
