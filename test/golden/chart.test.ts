/** The chart as the real Helm renders it, without what is generated (CRDs, roles); lint, and values that are refused. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'
import { whyNoCluster } from '../../scripts/cluster/machine.ts'
import { golden } from '../kit/golden.ts'
import { toolPath } from '../kit/tools.ts'

const CHART = join(import.meta.dirname, '../../charts/postern')
const why = whyNoCluster()
if (why !== undefined) process.stderr.write(`SKIPPED: chart.test.ts ${why}\n`)

/** Helm's home is not asked: nothing there can change what is rendered. */
function helm(args: readonly string[], values = '{}') {
  const env = { PATH: process.env.PATH ?? '', HELM_NO_PLUGINS: '1', HOME: '/nonexistent' }
  const { status, stdout, stderr } = spawnSync(toolPath('helm'), [...args, '-f', '-'], {
    input: values,
    env,
    encoding: 'utf8',
  })
  return { status, stdout, stderr }
}

const template = (values: string, namespace = 'postern-system') =>
  helm(['template', 'postern', CHART, '--namespace', namespace], values)

t.test('chart', { skip: why ?? false }, async (t) => {
  await golden(t, 'chart', ({ read }) => {
    const { status, stdout, stderr } = template(read())
    t.equal(status, 0, stderr)
    const documents = stdout.split(/^---\n/m).filter((d) => !d.includes('templates/rbac.yaml'))
    return { 'out.yaml': documents.join('---\n').replaceAll(/0\.\d+\.\d+(-dev)?/g, 'VERSION') }
  })
  t.match(helm(['lint', '--strict', CHART]), { status: 0 })
  t.match(template('{}', 'other'), { status: 1, stderr: /installed in the namespace postern-system/ })
  for (const wrong of ['replica: 3', 'injection: { failurePolicy: Never }', 'mesh: { trustDomain: A }'])
    t.match(template(wrong), { status: 1, stderr: /values don't meet the specifications/ }, wrong)
  const few = template('{ replicas: 1, mesh: { create: false }, validation: { enabled: false }, admissionPolicy: { enabled: false } }')
  t.equal(few.status, 0)
  t.notMatch(few.stdout, /^kind: (?:PodDisruptionBudget|Mesh|ValidatingAdmission)/m)
})
