/**
 * The decision log, or the access log, as a file or standard output: one JSON line a record, appended synchronously, so that a record is
 * with the kernel before the answer leaves. Two threads may append to one file; each line is one write.
 * A file that was rotated away is opened anew, whether something is written or not: an open descriptor keeps a removed
 * file's blocks. While it can't be opened, records go on to the one that was rotated away.
 * At the start a disk that takes nothing is no reason to end: nothing is written then, and it is tried again.
 */
import { closeSync, fstatSync, openSync, readSync, statSync, writeSync } from 'node:fs'
import { MeshError, type MeshErrorCode } from '../../../common/errors.ts'
import { escapeUnprintable } from '../../../common/printable.ts'
import { codeOf, isDiskFault } from '../../../host/private-file.ts'

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
  /** Told once when the file can't be opened, until it can. */
  readonly onFault?: (fault: unknown) => void
  /** Told when it is open again. */
  readonly onMended?: () => void
  /** How often it is looked for a rotation while nothing is written. */
  readonly lookEveryMs?: number
}

export class DecisionLogFile {
  readonly #path: string | undefined
  readonly #nowMs: () => number
  readonly #waitMs: number
  readonly #onFault: (fault: unknown) => void
  readonly #onMended: () => void
  readonly #timer: NodeJS.Timeout | undefined
  #fault: MeshError | undefined
  #isClosed = false
  #fd: number
  #checkedAtMs: number
  /** The last line was written in part: the next one, of whichever thread, starts on a line of its own. */
  readonly torn: SharedArrayBuffer
  readonly #torn: Int32Array

  /** Throws ERR_CONFIG when the file can't be opened, unless for a disk that takes nothing now. */
  constructor(target: DecisionLogTarget, options: LogFileOptions = {}) {
    this.#nowMs = options.monotonicMs ?? (() => performance.now())
    this.#waitMs = options.fullPipeWaitMs ?? FULL_PIPE_WAIT_MS
    this.#onFault = options.onFault ?? (() => {})
    this.#onMended = options.onMended ?? (() => {})
    this.torn = options.torn ?? new SharedArrayBuffer(4)
    this.#torn = new Int32Array(this.torn)
    this.#checkedAtMs = this.#nowMs()
    this.#path = target === '-' ? undefined : target
    this.#fd = this.#path === undefined ? STDOUT_FD : this.#openFirst(this.#path)
    if (this.#path === undefined) return
    if (endsWithinLine(this.#path)) Atomics.store(this.#torn, 0, 1)
    const look = () => this.#look()
    this.#timer = setInterval(look, options.lookEveryMs ?? ROTATION_CHECK_MS).unref()
  }

  /** Why the file isn't open, or records still go to the one before; undefined: all is well. */
  problem(): MeshError | undefined {
    return this.#fault
  }

  /** Appends one record; false when it could not be written whole. Never throws. */
  append(record: unknown): boolean {
    try {
      if (this.#nowMs() - this.#checkedAtMs > ROTATION_CHECK_MS) this.#followRotation()
      // who reads it with tail -f has a terminal, and callers choose what stands in it
      const json = `${escapeUnprintable(JSON.stringify(record))}\n`
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
    if (this.#path === undefined || this.#isClosed) return
    const old = this.#fd
    try {
      this.#fd = open(this.#path)
    } catch (fault) {
      this.#note(this.#path, fault)
      return
    }
    Atomics.store(this.#torn, 0, Number(endsWithinLine(this.#path)))
    if (old !== CLOSED) closeSync(old)
    if (this.#fault === undefined) return
    this.#fault = undefined
    this.#onMended()
  }

  close(): void {
    clearInterval(this.#timer)
    this.#isClosed = true
    if (this.#path !== undefined && this.#fd !== CLOSED) closeSync(this.#fd)
    this.#fd = CLOSED
  }

  #followRotation(): void {
    this.#checkedAtMs = this.#nowMs()
    if (this.#path === undefined || this.#isClosed) return
    if (this.#fd === CLOSED) {
      this.reopen()
      return
    }
    const now = statOf(this.#path)
    const opened = fstatSync(this.#fd)
    if (now === undefined || now.ino !== opened.ino || now.dev !== opened.dev) this.reopen()
  }

  #look(): void {
    try {
      this.#followRotation()
    } catch {
      // looked at again a second later
    }
  }

  #openFirst(path: string): number {
    try {
      return open(path)
    } catch (fault) {
      if (!isDiskFault(fault)) throw openProblem('ERR_CONFIG', path, fault)
      this.#note(path, fault)
      return CLOSED
    }
  }

  #note(path: string, cause: unknown): void {
    const problem = openProblem('ERR_STATE_WRITE', path, cause)
    const isNew = this.#fault === undefined
    this.#fault = problem
    if (isNew) this.#onFault(problem)
  }
}

function openProblem(code: MeshErrorCode, path: string, cause: unknown): MeshError {
  const message = `cannot open ${path} (${codeOf(cause)}); check its folder, disk and permissions`
  return new MeshError(code, message, { retry: 'backoff', cause })
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
