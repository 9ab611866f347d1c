/** Whether a listening Unix socket is still what its path leads to: a cleaner of old files may have taken it away. */
import { lstatSync } from 'node:fs'

export class SocketMark {
  readonly #path: string
  #marked: string | undefined

  constructor(path: string) {
    this.#path = path
  }

  /** Call when the socket was bound. */
  mark(): void {
    this.#marked = identify(this.#path)
  }

  /** False: gone, or another one. */
  isSame(): boolean {
    const now = identify(this.#path)
    return now !== undefined && now === this.#marked
  }
}

function identify(path: string): string | undefined {
  try {
    const { dev, ino } = lstatSync(path)
    return `${dev}:${ino}`
  } catch {
    return undefined
  }
}
