/**
 * The manifests folder as a ManifestSource: always all of it, but a file is read again only when it changed, and one
 * with the same text as before is the same value as before (what is made of it is then made once).
 * Nothing here judges content; a file or folder that can't be read is passed on as such, never as absent.
 */
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { setTimeout as wait } from 'node:timers/promises'
import { MeshError } from '../../../common/errors.ts'
import type { ManifestFile, ManifestSource } from '../../runtime/ports.ts'
import { FolderWatcher, RACY_MS } from './folder-watcher.ts'
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
/** How long a file must be gone to count as deleted, milliseconds: some editors rename the old one away first. */
const GONE_MS = 100

interface KnownFile {
  readonly file: ManifestFile
  /** Of when it was read; undefined: it is read again the next time, since it may have changed meanwhile. */
  readonly fingerprint: string | undefined
  readonly bytes: number
}

export class ManifestFolder implements ManifestSource {
  readonly #options: FolderOptions
  #known: ReadonlyMap<string, KnownFile> = new Map()
  #watcher: FolderWatcher | undefined

  constructor(options: FolderOptions) {
    this.#options = options
  }

  /** Rejects with ERR_CONFIG when the folder itself can't be read. */
  async read(signal: AbortSignal): Promise<readonly ManifestFile[]> {
    let scan = this.#watcher?.newest() ?? (await this.#scan())
    const there = new Set(scan.files.map((f) => f.path))
    if ([...this.#known.keys()].some((path) => !there.has(path))) {
      await wait(GONE_MS, undefined, { signal })
      scan = await this.#scan()
    }
    const known = new Map<string, KnownFile>()
    let bytesLeft = this.#options.maxFolderBytes ?? DEFAULT_MAX_FOLDER_BYTES
    for (const file of scan.files) {
      signal.throwIfAborted()
      const read = await this.#readOrKeep(file, bytesLeft)
      known.set(file.path, read)
      bytesLeft -= read.bytes
    }
    this.#known = known
    return [...known.values()].map((k) => k.file)
  }

  watch(onChange: () => void): Promise<() => Promise<void>> {
    const { settleMs = DEFAULT_SETTLE_MS, pollMs = DEFAULT_POLL_MS } = this.#options
    const walk = () => this.#scan()
    this.#watcher = new FolderWatcher({ settleMs, pollMs, walk, onChange })
    return this.#watcher.start()
  }

  async #readOrKeep(file: ScannedFile, bytesLeft: number): Promise<KnownFile> {
    const known = this.#known.get(file.path)
    const isSure = file.fingerprint !== undefined && known?.fingerprint === file.fingerprint
    if (isSure && known.bytes <= bytesLeft) return known
    const startMs = Date.now()
    const read = await this.#readFile(file, bytesLeft)
    const isSame =
      'text' in read && known !== undefined && 'text' in known.file && read.text === known.file.text
    const isRacy = startMs - (file.changedMs ?? startMs) < RACY_MS
    return {
      file: isSame ? known.file : read,
      fingerprint: isRacy || !('text' in read) ? undefined : file.fingerprint,
      bytes: 'text' in read ? Buffer.byteLength(read.text) : 0,
    }
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
