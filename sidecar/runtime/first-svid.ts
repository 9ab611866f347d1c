/** Waits for a workload's first certificate. In: where SVIDs come from. Out: the first one, or word that we stop. */
import type { IdentitySource, Svid } from '../ports.ts'

/** Undefined when `signal` fires before there was one, or has fired already. */
export async function firstSvid(
  identity: Pick<IdentitySource, 'subscribe'>,
  signal: AbortSignal,
): Promise<Svid | undefined> {
  if (signal.aborted) return undefined
  const { promise, resolve } = Promise.withResolvers<Svid | undefined>()
  const stop = () => resolve(undefined)
  signal.addEventListener('abort', stop)
  const leave = identity.subscribe(resolve)
  try {
    return await promise
  } finally {
    leave()
    signal.removeEventListener('abort', stop)
  }
}
