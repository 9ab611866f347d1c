/** A reader that is behind: noticed by bytes, listened to again once all is on the wire. */
import t from 'tap'
import { Outflow } from '../../../common/outflow.ts'

class Call {
  readonly written: (() => void)[] = []
  isPaused = false
  write(_message: unknown, written: () => void): boolean {
    this.written.push(written)
    return true
  }
  pause(): void {
    this.isPaused = true
  }
  resume(): void {
    this.isPaused = false
  }
}

t.test('is behind above 64 KiB, until everything is on the wire', async (t) => {
  const call = new Call()
  let drained = 0
  const outflow = new Outflow(call, () => (drained += 1))
  outflow.write('a', 64 * 1024)
  t.notOk(outflow.isBehind())
  outflow.write('b', 1)
  t.ok(outflow.isBehind() && call.isPaused)
  call.written.shift()?.()
  t.ok(outflow.isBehind() && call.isPaused, 'one byte is left')
  t.equal(outflow.bytes(), 1)
  call.written.shift()?.()
  t.notOk(outflow.isBehind() || call.isPaused)
  t.equal(drained, 1)
  outflow.write('c', 10)
  call.written.shift()?.()
  t.equal(drained, 1, 'nobody was behind')
})
