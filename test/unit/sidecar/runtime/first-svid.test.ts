import t from 'tap'
import type { Svid } from '../../../../sidecar/ports.ts'
import { firstSvid } from '../../../../sidecar/runtime/first-svid.ts'

const svid = { serialNumber: '01' } as Svid

/** Tells its listeners what it is told; `now` is told at once. */
function makeSource(now?: Svid) {
  const listeners = new Set<(svid: Svid) => void>()
  const subscribe = (listener: (svid: Svid) => void) => {
    listeners.add(listener)
    if (now !== undefined) listener(now)
    return () => listeners.delete(listener)
  }
  return { subscribe, listeners }
}

t.test('resolves with the first certificate, and listens no longer', async (t) => {
  const there = makeSource(svid)
  t.equal(await firstSvid(there, new AbortController().signal), svid)
  t.equal(there.listeners.size, 0)
  const later = makeSource()
  const waiting = firstSvid(later, new AbortController().signal)
  for (const listener of later.listeners) listener(svid)
  t.equal(await waiting, svid)
})

t.test('ends when we stop, also when that was before it began', async (t) => {
  const source = makeSource()
  const stopping = new AbortController()
  const waiting = firstSvid(source, stopping.signal)
  stopping.abort()
  t.equal(await waiting, undefined)
  t.equal(await firstSvid(source, stopping.signal), undefined, 'a signal during the start')
  t.equal(source.listeners.size, 0)
})
