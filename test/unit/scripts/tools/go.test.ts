/**
 * Go versions compare by number, not by text.
 */
import t from 'tap'
import { isOlder } from '../../../../scripts/tools/go.ts'

t.test('compares versions part by part', async (t) => {
  t.ok(isOlder('1.9', '1.26.8'))
  t.ok(isOlder('1.26.7', '1.26.8'))
  t.ok(isOlder('1.26', '1.26.1'))
  t.notOk(isOlder('1.26.8', '1.26.8'))
  t.notOk(isOlder('1.27rc1', '1.26.8'))
  t.notOk(isOlder('2.0', '1.99'))
})
