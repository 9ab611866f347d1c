/**
 * The manifests folder as a ManifestSource: read whole, and watched. Events of the kernel start a rescan at once
 * (coalesced), a slow poll finds what events missed, and only a real change calls back.
 * Nothing here judges content; a file or folder that can't be read is passed on as such, never as absent.
 */
import { constants, type FSWatcher, watch } from 'node:fs'
import { open } from 'node:fs/promises'
import { setTimeout as wait } from 'node:timers/promises'
import { MeshError } from '../../../common/errors.ts'
import type { ManifestFile, ManifestSource } from '../../runtime/ports.ts'
import { reason, type Scan, type ScannedFile, scanFolder } from './scan.ts'

export interface FolderOptions {
  readonly folder: string
  /** Quiet time after an event before the rescan, milliseconds. Default 30: a save is several events. */
  readonly settleMs?: number
  /** Time between two polls, milliseconds. Default 2000. */
  readonly pollMs?: number
  /** Files beyond are unreadable, bytes. Default 4 MiB. */
  readonly maxFileBytes?: number
  /** Files that come after so many bytes of others are unreadable. Default 64 MiB. */
  readonly maxFolderBytes?: number
  /** Files and directories; a folder with more is unreadable. Default 20,000. */
  readonly maxEntries?: number
}

const DEFAULT_SETTLE_MS = 30
const DEFAULT_POLL_MS = 2000
const DEFAULT_MAX_FILE_BYTES = 4 * 1024 * 1024
const DEFAULT_MAX_FOLDER_BYTES = 64 * 1024 * 1024
/** A folder that never rests is read all the same after so many settle times. */
const MAX_SETTLES = 5
/** How long a file must be gone to count as deleted, milliseconds: some editors rename the old one away first. */
const GONE_MS = 100

export class ManifestFolder implements ManifestSource {
  readonly #options: FolderOptions
  #known: readonly string[] = []

  constructor(options: FolderOptions) {
    this.#options = options
  }

  /** Rejects with ERR_CONFIG when the folder itself can't be read. */
  async read(signal: AbortSignal): Promise<readonly ManifestFile[]> {
    let scan = await this.#scan()
    const there = new Set(scan.files.map((f) => f.path))
    if (this.#known.some((path) => !there.has(path))) {
      await wait(GONE_MS, undefined, { signal })
      scan = await this.#scan()
    }
    this.#known = scan.files.map((f) => f.path)
    const files: ManifestFile[] = []
    let bytesLeft = this.#options.maxFolderBytes ?? DEFAULT_MAX_FOLDER_BYTES
    for (const file of scan.files) {
      signal.throwIfAborted()
      const read = await this.#readFile(file, bytesLeft)
      files.push(read)
      if ('text' in read) bytesLeft -= Buffer.byteLength(read.text)
    }
    return files
  }

  watch(onChange: () => void): Promise<() => Promise<void>> {
    const watcher = new FolderWatcher(this.#options, () => this.#scan(), onChange)
    return watcher.start()
  }

  async #scan(): Promise<Scan> {
    try {
      return await scanFolder(this.#options.folder, this.#options.maxEntries)
    } catch (cause) {
      const message = `manifests folder ${this.#options.folder} can't be read: ${reason(cause)}`
      throw new MeshError('ERR_CONFIG', message, { retry: 'backoff', cause })
    }
  }

  async #readFile(file: ScannedFile, bytesLeft: number): Promise<ManifestFile> {
    if (file.unreadable !== undefined) return { path: file.path, unreadable: file.unreadable }
    const maxBytes = this.#options.maxFileBytes ?? DEFAULT_MAX_FILE_BYTES
    try {
      const bytes = await readBounded(file.absolute, maxBytes)
      if (bytes === undefined) return { path: file.path, unreadable: `more than ${maxBytes} bytes` }
      if (bytes.length > bytesLeft)
        return { path: file.path, unreadable: 'the folder has too many bytes in all' }
      return { path: file.path, text: new TextDecoder('utf-8', { fatal: true }).decode(bytes) }
    } catch (error) {
      const unreadable = error instanceof TypeError ? 'it is not UTF-8 text' : reason(error)
      return { path: file.path, unreadable }
    }
  }
}

/** What a file may grow between its size and its end; an editor writes it anew instead. */
const GROWTH_BYTES = 64 * 1024

/** The file's bytes, or undefined when there are more than `maxBytes`. */
async function readBounded(path: string, maxBytes: number): Promise<Uint8Array | undefined> {
  // O_NONBLOCK: a pipe put in the file's place must not hold the controller up.
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    const found = await handle.stat()
    if (found.size > maxBytes || !found.isFile()) return undefined
    // Not to the end: a file that grows has none.
    const buffer = Buffer.alloc(Math.min(maxBytes, found.size + GROWTH_BYTES) + 1)
    let length = 0
    for (;;) {
      const { bytesRead } = await handle.read(buffer, length, buffer.length - length)
      length += bytesRead
      if (length === buffer.length) return undefined
      if (bytesRead === 0) return buffer.subarray(0, length)
    }
  } finally {
    await handle.close()
  }
}

class FolderWatcher {
  readonly #options: FolderOptions
  readonly #scan: () => Promise<Scan>
  readonly #onChange: () => void
  readonly #watchers = new Map<string, { identity: string; watcher: FSWatcher }>()
  #seen = ''
  #timer: NodeJS.Timeout | undefined
  #poll: NodeJS.Timeout | undefined
  #settles = 0
  #running: Promise<void> = Promise.resolve()
  #stopped = false

  constructor(options: FolderOptions, scan: () => Promise<Scan>, onChange: () => void) {
    this.#options = options
    this.#scan = scan
    this.#onChange = onChange
  }

  async start(): Promise<() => Promise<void>> {
    await this.#rescan(false)
    this.#poll = setInterval(() => this.#enqueue(), this.#options.pollMs ?? DEFAULT_POLL_MS)
    return () => this.#stop()
  }

  async #stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#timer)
    clearInterval(this.#poll)
    for (const { watcher } of this.#watchers.values()) watcher.close()
    this.#watchers.clear()
    await this.#running
  }

  /** Waits until the folder rests, but not for ever. */
  #onEvent(): void {
    if (this.#stopped || (this.#timer !== undefined && this.#settles >= MAX_SETTLES)) return
    clearTimeout(this.#timer)
    this.#settles += 1
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.#settles = 0
      this.#enqueue()
    }, this.#options.settleMs ?? DEFAULT_SETTLE_MS)
  }

  #enqueue(): void {
    this.#running = this.#running.then(() => this.#rescan(true))
  }

  async #rescan(notify: boolean): Promise<void> {
    if (this.#stopped) return
    const scan = await this.#scan().catch(() => undefined)
    if (this.#stopped) return
    const seen = scan === undefined ? 'unreadable' : fingerprintOf(scan)
    if (scan !== undefined) this.#follow(scan.directories)
    if (seen === this.#seen) return
    this.#seen = seen
    if (notify) this.#onChange()
  }

  #follow(directories: ReadonlyMap<string, string>): void {
    for (const [path, { identity, watcher }] of this.#watchers) {
      if (directories.get(path) === identity) continue
      watcher.close()
      this.#watchers.delete(path)
    }
    for (const [path, identity] of directories) {
      if (!this.#watchers.has(path)) this.#watchDirectory(path, identity)
    }
  }

  /** A directory that can't be watched (gone, or no more watches) is left to the poll. */
  #watchDirectory(path: string, identity: string): void {
    try {
      const watcher = watch(path, { persistent: false }, () => this.#onEvent())
      watcher.on('error', () => watcher.close())
      this.#watchers.set(path, { identity, watcher })
    } catch {
      return
    }
    // What changed between the scan and the watch gave no event.
    this.#onEvent()
  }
}

function fingerprintOf(scan: Scan): string {
  return scan.files.map((f) => `${f.path}\0${f.fingerprint ?? f.unreadable}`).join('\n')
}
