/**
 * How many pod tokens are asked about at once. The API server is asked for each token that is shown, also for strangers',
 * and it is everybody's: a few run, some wait, and beyond that the answer is "later". An address is asked about one at a
 * time and waits with few, so that one caller can't take the places of all others.
 */
import { MeshError } from '../../../common/errors.ts'
import { createKeyedLock } from './keyed-lock.ts'

export interface ReviewGate {
  /** Runs `ask` once there is room. Throws ERR_RATE_LIMITED. */
  pass<T>(address: string, ask: () => Promise<T>): Promise<T>
}

/** A rollout of hundreds of pods waits a little; a review takes milliseconds. */
const AT_ONCE = 8
const WAITING = 256
const FOR_ADDRESS = 4

export function createReviewGate({ atOnce = AT_ONCE, waiting = WAITING } = {}): ReviewGate {
  const inTurn = createKeyedLock()
  const queue: (() => void)[] = []
  const byAddress = new Map<string, number>()
  let running = 0
  let all = 0
  const inRoom = async <T>(ask: () => Promise<T>): Promise<T> => {
    // Whoever leaves hands over its place.
    if (running < atOnce) running += 1
    else await new Promise<void>((resolve) => queue.push(resolve))
    try {
      return await ask()
    } finally {
      const next = queue.shift()
      if (next === undefined) running -= 1
      else next()
    }
  }
  return {
    async pass(address, ask) {
      const own = byAddress.get(address) ?? 0
      if (own >= FOR_ADDRESS || all >= atOnce + waiting) throw busy()
      byAddress.set(address, own + 1)
      all += 1
      try {
        return await inTurn(address, () => inRoom(ask))
      } finally {
        all -= 1
        const left = (byAddress.get(address) ?? 1) - 1
        if (left === 0) byAddress.delete(address)
        else byAddress.set(address, left)
      }
    },
  }
}

function busy(): MeshError {
  const message = 'too many pod tokens are being reviewed; try again in a moment'
  return new MeshError('ERR_RATE_LIMITED', message, { retry: 'backoff' })
}
