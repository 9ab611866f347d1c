/** Envoy's lines keep level and component; anything else is still said. */
import t from 'tap'
import { readLogLine } from '../../../../../sidecar/core/envoy/log-line.ts'

t.test('a line of our format', async (t) => {
  t.same(readLogLine('warning\tconfig\tgRPC config: rejected\tby tab'), {
    level: 'warn',
    component: 'config',
    message: 'gRPC config: rejected\tby tab',
  })
  t.equal(readLogLine('critical\tassert\tx').level, 'error')
})

t.test('a line of any other format is a warning', async (t) => {
  for (const line of ['Caught Segmentation fault', 'odd\tx\ty', 'warning\tconfig'])
    t.same(readLogLine(line), { level: 'warn', component: 'envoy', message: line })
})
