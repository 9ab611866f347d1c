/** When to renew and when to stop, whatever the clocks do. */
import t from 'tap'
import { backoffMs, leasePhase, renewAt, startLease } from '../../../common/renewal.ts'

t.test('renews at half of what is left, ten per cent about', async (t) => {
  const at = (jitter: number) => renewAt({ nowMs: 1000, notAfterMs: 21_000, jitter })
  t.equal(at(0), 1000 + 8000)
  t.equal(at(0.5), 1000 + 10_000)
  t.ok(at(0.999_999) < 1000 + 12_000)
  t.equal(renewAt({ nowMs: 5, notAfterMs: 1, jitter: 0.5 }), 5, 'at once when it has ended')
})

t.test('the later of both clocks counts', async (t) => {
  const start = { wallMs: 1_000_000, monotonicMs: 500 }
  const lease = startLease(start, start.wallMs + 20_000, 0.5)
  const after = (wallMs: number, monotonicMs: number) =>
    leasePhase(lease, { wallMs: start.wallMs + wallMs, monotonicMs: 500 + monotonicMs })
  t.equal(after(0, 0), 'fresh')
  t.equal(after(9_999, 9_999), 'fresh')
  t.equal(after(10_000, 10_000), 'due')
  t.equal(after(20_000, 20_000), 'expired')
  t.equal(after(-3_600_000, 10_000), 'due', 'the wall clock was put back')
  t.equal(after(-3_600_000, 20_000), 'expired', 'and does not make it live longer')
  t.equal(after(3_600_000, 0), 'expired', 'the wall clock was put forward, or the machine slept')
  t.equal(after(12_000, 0), 'due')
})

t.test('a certificate that had ended when it came is expired at once', async (t) => {
  const start = { wallMs: 1_000_000, monotonicMs: 0 }
  t.equal(leasePhase(startLease(start, 999_000, 0.5), start), 'expired')
})

t.test('waits double up to a bound, and are spread', async (t) => {
  t.equal(backoffMs(1, 5000, 0), 500)
  t.equal(backoffMs(2, 5000, 0), 1000)
  t.equal(backoffMs(10, 5000, 0), 2500)
  t.equal(backoffMs(100, 5000, 0.999_999_9) <= 5000, true)
})
