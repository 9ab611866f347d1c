/**
 * Only pinned releases of Kubernetes are built, and each has its module.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import {
  DEFAULT_KUBERNETES,
  kubernetesFlags,
  kubernetesModule,
  kubernetesRelease,
} from '../../../../scripts/tools/kubernetes.ts'

const TOOLS = join(import.meta.dirname, '../../../../tools')

t.test('takes a minor or a full version, and nothing means the default', async (t) => {
  t.equal(kubernetesRelease(undefined), DEFAULT_KUBERNETES)
  t.equal(kubernetesRelease(''), DEFAULT_KUBERNETES)
  t.equal(kubernetesRelease('1.36'), kubernetesRelease(`v${kubernetesRelease('1.36')}`))
})

for (const asked of ['1.33', '1.36.0', '1', 'latest', '1.36.3.1'])
  t.test(`refuses ${asked}`, async (t) => {
    t.throws(() => kubernetesRelease(asked), { name: 'Missing', message: /pinned releases/ })
  })

for (const minor of ['1.34', '1.35', '1.36', '1.37'])
  t.test(`${minor} is pinned by its module`, async (t) => {
    const release = kubernetesRelease(minor)
    const module = join(TOOLS, kubernetesModule(release))
    t.ok(existsSync(join(module, 'go.sum')))
    t.match(readFileSync(join(module, 'go.mod'), 'utf8'), `k8s.io/kubernetes v${release}`)
    t.match(kubernetesFlags(release), `version.gitVersion=v${release} `)
  })
