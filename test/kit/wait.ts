/**
 * Waiting for the world in tests: on a condition or a port, never on a fixed sleep, and never for ever.
 */
import { connect } from 'node:net'

const POLL_MS = 20
export const DEFAULT_TIMEOUT_MS = 15_000

export interface WaitOptions {
  /** Ends the wait with an error. Default: a timeout of 15 s. */
  readonly signal?: AbortSignal | undefined
  /** What is waited for, for the error's message. */
  readonly what?: string
}

/** Asks `condition` every 20 ms until it gives something truthy, and returns that. Its errors count as "not yet". */
export async function waitFor<T>(
  condition: () => T | Promise<T>,
  options: WaitOptions = {},
): Promise<NonNullable<T>> {
  const signal = options.signal ?? AbortSignal.timeout(DEFAULT_TIMEOUT_MS)
  let last: unknown
  for (;;) {
    // Looked at before the last try: what held when the signal came still counts.
    const isLastTry = signal.aborted
    try {
      const value = await condition()
      if (value) return value
      last = value
    } catch (error) {
      last = error
    }
    if (isLastTry) break
    await pause(signal)
  }
  const seen = last instanceof Error ? last.message : JSON.stringify(last)
  throw new Error(`gave up waiting for ${options.what ?? 'a condition'}; last: ${seen}`, {
    cause: signal.reason,
  })
}

/** Waits until something accepts TCP connections at 127.0.0.1:port (or another loopback address, or a socket path). */
export async function waitForPort(
  target: number | string,
  options: WaitOptions & { readonly host?: string } = {},
): Promise<void> {
  const where =
    typeof target === 'string'
      ? { path: target }
      : { port: target, host: options.host ?? '127.0.0.1' }
  const what = options.what ?? `a listener at ${target}`
  await waitFor(() => canConnect(where), { ...options, what })
}

function canConnect(where: { path: string } | { port: number; host: string }): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(where)
    const done = (ok: boolean) => {
      socket.destroy()
      resolve(ok)
    }
    socket.once('connect', () => done(true))
    socket.once('error', () => done(false))
  })
}

function pause(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, POLL_MS)
    function done(): void {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    signal.addEventListener('abort', done)
  })
}
