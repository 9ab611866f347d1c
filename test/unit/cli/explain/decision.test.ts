import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { explainDecision } from '../../../../cli/explain/decision.ts'
import { formatDecision } from '../../../../cli/explain/decision-text.ts'
import { findInFiles } from '../../../../cli/explain/log-file.ts'
import type { DecisionRecord } from '../../../../common/decision.ts'
import { runCli } from '../../../kit/cli.ts'
import { makeVersion } from '../../../kit/explain.ts'
import { header, is, makePolicy, makeSet, operation } from '../../../kit/policies.ts'
import { tempDir } from '../../../kit/tempdir.ts'

const set = makeSet([
  makePolicy({ name: 'deny', action: 'DENY', rules: [{ when: [header('x-debug', is('*'))] }] }),
  makePolicy({
    name: 'debug',
    action: 'AUDIT',
    rules: [{ when: [header('x-debug', is('*'))] }],
  }),
  makePolicy({ name: 'allow', rules: [{ to: [operation({ paths: is('/a') })] }] }),
])
const version = await makeVersion(set)
const grounds = {
  ...{ workload: 'ns/app', nodeId: 'ns/app/u', spiffeId: 's', service: 'ns/app', connected: true },
  versions: [version],
  locations: { 'ns/allow/rules[0]': { file: 'p.yaml', line: 7 } },
}
const record: DecisionRecord = {
  decision_id: 'decision-1',
  timestamp: '2026-11-24T12:00:00.000000000Z',
  type: 'openpolicyagent.org/decision_logs',
  labels: { id: 'i', version: 'v', workload: 'app', namespace: 'ns' },
  bundles: { postern: { revision: version.revision } },
  result: true,
  requested_by: '10.0.0.1:4000',
  metrics: {},
  postern: {
    ...{ lane: 'rbac', allowed: true, policy: 'ns/allow', rule: 'ns/allow/rules[0]' },
    ...{ reason: 'matched', httpStatus: 200, source: 'spiffe://td/ns/a/sa/b' },
    ...{ method: 'GET', path: '/a', host: 'h' },
  },
}

t.test('who, whom, what, by whose word, where that stands', async (t) => {
  const text = formatDecision(await explainDecision(record, grounds))
  t.match(text, /^Answer: +ALLOWED 200$/m)
  t.match(text, /^Caller: +spiffe:\/\/td\/ns\/a\/sa\/b at 10\.0\.0\.1:4000$/m)
  t.match(text, /^Callee: +ns\/app$/m)
  t.match(text, /^Decided by: +ns\/allow\/rules\[0\] \(p\.yaml:7\): it matches$/m)
  t.match(text, /^Generation: +g$/m)
  t.match(text, /^ALLOW +ns\/allow +match, decides +rules\[0\] matches$/m)
})

t.test('what is not recorded is not made up; what follows from the order is said', async (t) => {
  const text = formatDecision(await explainDecision(record, grounds))
  t.match(text, /^DENY +ns\/deny +no match .*what the request had is not recorded$/m)
  t.match(text, /^AUDIT +ns\/debug +not recorded/m)
})

t.test('a set that is gone: the record alone', async (t) => {
  const bundles = { postern: { revision: 'older' } }
  const text = formatDecision(await explainDecision({ ...record, bundles }, grounds))
  t.match(text, /^Decided by: +ns\/allow\/rules\[0\]/m)
  t.match(text, /policy set that decided is not to be had here/)
  t.match(formatDecision(await explainDecision(record, undefined)), /is not to be had/)
})

t.test('from files, without a controller', async (t) => {
  const dir = tempDir(t)
  const [old, log] = [join(dir, 'old'), join(dir, 'log')]
  const denied = { ...record, postern: { ...record.postern, allowed: false, httpStatus: 403 } }
  writeFileSync(old, `${JSON.stringify({ ...record, decision_id: 'decision-0' })}\n`)
  writeFileSync(
    log,
    `{"decision_id":"decision-1"}\n${JSON.stringify(denied)}\n{"decision_id":"decision-1"`,
  )
  t.match(await findInFiles([old, log], 'decision-1'), { postern: { allowed: false } })
  await t.rejects(findInFiles([old], 'decision-1'), { code: 'ERR_NOT_FOUND' })
  await t.rejects(findInFiles([join(dir, 'none')], 'decision-1'), { code: 'ERR_CONFIG' })
  const ask = (id: string) => runCli(['explain', 'decision', id, '--decision-log', old, log])
  t.match(await ask('decision-1'), { code: 3, said: /^Answer: +DENIED 403$/m })
  t.match(await ask('decision-0'), { code: 0 })
})
