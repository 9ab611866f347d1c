/**
 * Shifts the wall clock of a Node process under test: `node --import` this file, by NODE_OPTIONS. Milliseconds are read
 * from the file that POSTERN_TEST_CLOCK names, again and again, so that the clock jumps while the process runs.
 * Only Date is shifted: the monotonic clock, timers, and OpenSSL's view of certificates stay the machine's.
 */
import { readFileSync } from 'node:fs'

const LOOK_EVERY_MS = 20
const RealDate = Date
const path = process.env.POSTERN_TEST_CLOCK
let offsetMs = 0

function look(): void {
  try {
    offsetMs = Number(readFileSync(path ?? '', 'utf8')) || 0
  } catch {
    // It is being written.
  }
}

class ShiftedDate extends RealDate {
  constructor(...args: readonly unknown[]) {
    if (args.length === 0) super(ShiftedDate.now())
    else super(...(args as [number]))
  }

  static override now(): number {
    return RealDate.now() + offsetMs
  }
}

if (path !== undefined) {
  look()
  setInterval(look, LOOK_EVERY_MS).unref()
  globalThis.Date = ShiftedDate as DateConstructor
}
