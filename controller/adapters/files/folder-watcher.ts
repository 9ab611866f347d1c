/**
 * Calls back when something in the manifests folder really changed. Events of the kernel name the places, which alone
 * are looked at again (coalesced); a slow poll walks the whole folder and finds what events missed.
 * In: the folder's settings. Out: `onChange`, and the newest scan, so that reading it need not walk it once more.
 */
import { type FSWatcher, watch } from 'node:fs'
import { join } from 'node:path'
import { rescanPlaces, type Scan, type ScannedFile } from './scan.ts'

export interface WatchOptions {
  /** Quiet time after an event before the rescan, milliseconds. */
  readonly settleMs: number
  /** Time between two polls, milliseconds. */
  readonly pollMs: number
  readonly walk: () => Promise<Scan>
  readonly onChange: () => void
}

/** A folder that never rests is read all the same after so many settle times. */
const MAX_SETTLES = 5
/** More places than that are not looked at one by one. */
const MAX_PLACES = 256
/** A walk of a large folder takes its time: polls use at most one part in so many of it. */
const POLL_SHARE = 50
/**
 * Two writes within one tick of a file system's clock leave the same times; an event soon after the time of a file says
 * that there was one more. Origin: two seconds is the coarsest clock (FAT); git calls this "racy".
 */
export const RACY_MS = 2000

export class FolderWatcher {
  readonly #options: WatchOptions
  readonly #watchers = new Map<string, { identity: string; watcher: FSWatcher }>()
  #scan: Scan | undefined
  #seen = ''
  /** What events named since the last rescan; undefined: anything. */
  #places: Set<string> | undefined
  #events = 0
  #timer: NodeJS.Timeout | undefined
  #poll: NodeJS.Timeout | undefined
  #settles = 0
  #running: Promise<void> = Promise.resolve()
  #stopped = false

  constructor(options: WatchOptions) {
    this.#options = options
  }

  async start(): Promise<() => Promise<void>> {
    await this.#rescan(false)
    this.#pollAfter(this.#options.pollMs)
    return () => this.#stop()
  }

  /** The folder as the last event or poll left it; undefined: it must be walked. */
  newest(): Scan | undefined {
    return this.#stopped || this.#places === undefined || this.#places.size > 0
      ? undefined
      : this.#scan
  }

  async #stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#timer)
    clearTimeout(this.#poll)
    for (const { watcher } of this.#watchers.values()) watcher.close()
    this.#watchers.clear()
    await this.#running
  }

  #pollAfter(ms: number): void {
    this.#poll = setTimeout(async () => {
      const startMs = performance.now()
      await this.#enqueue(true)
      if (this.#stopped) return
      this.#pollAfter(Math.max(this.#options.pollMs, (performance.now() - startMs) * POLL_SHARE))
    }, ms)
  }

  /** Waits until the folder rests, but not for ever. */
  #onEvent(place: string | undefined): void {
    this.#events += 1
    if (place === undefined || (this.#places?.size ?? 0) >= MAX_PLACES) this.#places = undefined
    else this.#places?.add(place)
    if (this.#stopped || (this.#timer !== undefined && this.#settles >= MAX_SETTLES)) return
    clearTimeout(this.#timer)
    this.#settles += 1
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.#settles = 0
      void this.#enqueue(false)
    }, this.#options.settleMs)
  }

  #enqueue(isPoll: boolean): Promise<void> {
    this.#running = this.#running.then(() => {
      if (isPoll) this.#places = undefined
      return this.#rescan(true)
    })
    return this.#running
  }

  async #rescan(notify: boolean): Promise<void> {
    if (this.#stopped) return
    const places = this.#places
    // What comes from here on is for the next one.
    this.#places = new Set()
    const scan = await this.#look(places).catch(() => undefined)
    if (this.#stopped) return
    if (scan === undefined) this.#places = undefined
    this.#scan = scan
    const seen = scan === undefined ? 'unreadable' : this.#textOf(scan, places)
    if (scan !== undefined) this.#follow(scan.directories)
    if (seen === this.#seen) return
    this.#seen = seen
    if (notify) this.#options.onChange()
  }

  async #look(places: ReadonlySet<string> | undefined): Promise<Scan> {
    const again =
      places === undefined || this.#scan === undefined
        ? undefined
        : await rescanPlaces(this.#scan, places)
    return again ?? this.#options.walk()
  }

  /** Changes with every change of the folder. */
  #textOf({ files }: Scan, places: ReadonlySet<string> | undefined): string {
    const isRacy = ({ absolute, changedMs = 0 }: ScannedFile) =>
      places?.has(absolute) === true && Date.now() - changedMs < RACY_MS
    const lines = files.map((f) => `${f.path}\0${f.fingerprint ?? f.unreadable}`)
    return files.some(isRacy) ? [...lines, this.#events].join('\n') : lines.join('\n')
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
      const watcher = watch(path, { persistent: false }, (_kind, name) =>
        this.#onEvent(name === null ? undefined : join(path, name)),
      )
      watcher.on('error', () => watcher.close())
      this.#watchers.set(path, { identity, watcher })
    } catch {
      return
    }
    // What changed between the scan and the watch gave no event.
    this.#onEvent(undefined)
  }
}
