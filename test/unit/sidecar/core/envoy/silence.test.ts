/** A hung Envoy is told from a machine that slept. */
import t from 'tap'
import {
  HUNG_AFTER_MS,
  judgeSilence,
  NOT_SILENT,
} from '../../../../../sidecar/core/envoy/silence.ts'

function judge(looks: readonly (readonly [hasAnswered: boolean, nowMs: number])[]): boolean[] {
  let silence = NOT_SILENT
  return looks.map(([hasAnswered, nowMs]) => {
    const judged = judgeSilence(silence, hasAnswered, nowMs)
    silence = judged.silence
    return judged.isHung
  })
}

t.test('silent for long over several looks: hung', async (t) => {
  const end = 5 + HUNG_AFTER_MS
  t.same(
    judge([
      [true, 0],
      [false, 5],
      [false, end - 1],
      [false, end],
    ]),
    [false, false, false, true],
  )
})

t.test('one late look after a sleep is not', async (t) => {
  t.same(
    judge([
      [false, 0],
      [false, 3_600_000],
      [true, 3_600_010],
      [false, 3_600_020],
    ]),
    [false, false, false, false],
  )
})
