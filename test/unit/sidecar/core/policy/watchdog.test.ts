import t from 'tap'
import { look, NOT_WATCHING, type Watch } from '../../../../../sidecar/core/policy/watchdog.ts'

const MS = 1_000_000n

/** Looks at these times (ms) at a worker that is busy with one request since 0. */
function looksAt(times: readonly number[], sequence: (i: number) => bigint = () => 1n): boolean[] {
  let watch: Watch = NOT_WATCHING
  return times.map((time, i) => {
    const seen = { busySinceNs: 1n, sequence: sequence(i) }
    const result = look(watch, seen, BigInt(time) * MS + 1n)
    watch = result.watch
    return result.isHanging
  })
}

t.test('a worker hangs after 300 ms on one request', async (t) => {
  t.same(looksAt([50, 100, 150, 200, 250, 300, 350]), [
    ...[false, false, false, false, false, false],
    true,
  ])
})

t.test('late looks, on a starved machine, do not make a worker hang', async (t) => {
  t.same(looksAt([400, 800, 900]), [false, false, false])
  t.same(looksAt([400, 800, 900, 950]), [false, false, false, true])
})

t.test('a worker that goes on to the next request does not hang', async (t) => {
  t.same(looksAt([350, 400, 450, 500, 550], BigInt), [false, false, false, false, false])
})

t.test('an idle worker does not hang', async (t) => {
  const idle = { busySinceNs: undefined, sequence: 1n }
  t.same(look({ sequence: 1n, looks: 9 }, idle, 10n ** 12n), {
    watch: NOT_WATCHING,
    isHanging: false,
  })
})
