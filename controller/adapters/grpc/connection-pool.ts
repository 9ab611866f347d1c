/**
 * Who may hold how many of the TLS port's connections. Strangers (in their handshake, or without a certificate) share
 * one pool, each workload has one of its own; when a pool is full, its oldest connection makes room: a handshake or an
 * attestation is short, a flood or a half-dead connection is not, so that no one is kept out by others who stay.
 */
import type { Socket } from 'node:net'

export interface PoolOptions {
  readonly maxStrangers: number
  readonly maxOfPeer: number
  /** What a stranger may send. */
  readonly maxStrangerBytes: number
}

const LOOK_EVERY_MS = 100

export class ConnectionPool {
  readonly #options: PoolOptions
  /** By address and port of the other end, in the order of arrival. */
  readonly #strangers = new Map<string, Socket>()
  readonly #peers = new Map<string, Set<Socket>>()
  #timer: NodeJS.Timeout | undefined

  constructor(options: PoolOptions) {
    this.#options = options
  }

  /** Every connection, as it is accepted and before TLS. */
  addStranger(socket: Socket): void {
    const key = keyOf(socket)
    this.#strangers.set(key, socket)
    socket.on('close', () => {
      if (this.#strangers.get(key) === socket) this.#strangers.delete(key)
    })
    const [oldest] = this.#strangers.values()
    if (this.#strangers.size > this.#options.maxStrangers) oldest?.destroy()
    this.#timer ??= setInterval(() => this.#look(), LOOK_EVERY_MS).unref()
  }

  /** The same connection, once its certificate was verified. */
  addPeer(workloadUid: string, socket: Socket): void {
    this.#strangers.delete(keyOf(socket))
    const own = this.#peers.get(workloadUid) ?? new Set()
    this.#peers.set(workloadUid, own.add(socket))
    socket.on('close', () => {
      own.delete(socket)
      if (own.size === 0 && this.#peers.get(workloadUid) === own) this.#peers.delete(workloadUid)
    })
    const [oldest] = own
    if (own.size > this.#options.maxOfPeer) oldest?.destroy()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** HTTP/2 reads below JavaScript, so that bytes can only be looked at. */
  #look(): void {
    for (const socket of this.#strangers.values())
      if (socket.bytesRead > this.#options.maxStrangerBytes) socket.destroy()
    if (this.#strangers.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}

function keyOf(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort}`
}
