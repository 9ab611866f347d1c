import t from 'tap'
import { sprintf } from '../../../../../../sidecar/adapters/wasm/builtins/sprintf.ts'
import {
  RegoNumber,
  RegoObject,
  RegoSet,
} from '../../../../../../sidecar/adapters/wasm/rego-value.ts'

/** Answers of OPA 1.22.2. */
const answers: readonly [string, readonly unknown[], string][] = [
  ['%v %s', ['a', 'b'], 'a b'],
  ['%d/%v/%x/%X/%b/%o', [255, -1, 255, 255, 5, 8], '255/-1/ff/FF/101/10'],
  ['%5d|%-5d|%05d|%+d', [5, 5, -5, 5], '    5|5    |-0005|+5'],
  ['%v %v %v', [true, null, 1.5], 'true null 1.5'],
  ['%v %v', [{ b: 1, a: [1, 'x'] }, [1, 2]], '{"a": [1, "x"], "b": 1} [1, 2]'],
  ['%.2f %f %+.1f %.0f', [0.125, -0.5, 1.35, 2.5], '0.12 -0.500000 +1.4 2'],
  ['%v %v %v', [0.00001, 1e-7, 100000.25], '1e-05 1e-07 100000.25'],
  ['%5s|%-5s|%.2s|%q|%x', ['ab', 'ab', 'abc', 'é"\n', 'ab'], '   ab|ab   |ab|"é\\"\\n"|6162'],
  ['100%%', [], '100%'],
  ['%v', [], '%!v(MISSING)'],
  ['x', [1, 'a', 1.5, [1]], 'x%!(EXTRA int64=1, string=a, float64=1.5, string=[1])'],
  ['%d %t', ['ab', true], '%!d(string=ab) %!t(string=true)'],
  ['%s', [5], '%!s(int64=5)'],
  ['%v %g', [1234567.5, 100000000.5], '1.2345675e+06 1.000000005e+08'],
  ['%v', [[new RegoNumber('1.0'), 'é😀']], '[1.0, "é😀"]'],
  ['%v', [new RegoSet([[1], new RegoSet([2]), 'b', 3, 1])], '{1, 3, "b", [1], {2}}'],
  ['%s %d', [new RegoSet([]), new RegoSet([1])], 'set() %!d(string={1})'],
  [
    '%v',
    [
      new RegoObject([
        ['a', true],
        [1, 'x'],
      ]),
    ],
    '{1: "x", "a": true}',
  ],
  ['%s %d', [2n ** 70n, 2n ** 70n], '1180591620717411303424 1180591620717411303424'],
]
for (const [format, values, want] of answers)
  t.test(`${format} prints as OPA prints it`, async (t) => {
    t.equal(sprintf(format, values), want)
  })

const refused: readonly [string, readonly unknown[]][] = [
  ['%', [1]],
  ['%*d', [1, 2]],
  ['%[1]d', [1]],
  ['% d', [1]],
  ['%#x', [1]],
  ['%5d', ['ab']],
  ['%f', [1]],
  ['%x', [1.5]],
  ['%q', ['\u0001']],
  ['%v', [Number.POSITIVE_INFINITY]],
  ['%5v', []],
  ['%v', [['\u0001']]],
  ['%v', [{ '\u00a0': 1 }]],
  ['%v', [new RegoNumber('1.0')]],
  ['%+v', [5]],
  ['%+v', [1.5]],
  ['%+q', ['é']],
  ['%05.3d', [7]],
  ['%.0d', [0]],
  ['%.2x', ['éa']],
  ['%O', [8]],
  ['%T', ['a']],
  ['%U', [5]],
]
for (const [format, values] of refused)
  t.test(`${format} of ${String(values)} is an error rather than another text`, async (t) => {
    t.throws(() => sprintf(format, values), RangeError)
  })
