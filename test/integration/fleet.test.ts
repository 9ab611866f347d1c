/**
 * The fleet bench on a small scale, for who gets what: a real controller and 20 real protocol clients. No timings.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Fleet, writeManifests } from '../../bench/fleet/fleet.ts'
import {
  buildMeshWide,
  buildPolicy,
  buildWorkload,
  hearersOf,
  MESH_WIDE_FILE,
  ONE_WORKLOAD_FILE,
  workloadFile,
  workloadNames,
} from '../../bench/fleet/mesh.ts'
import { startController } from '../kit/controller.ts'
import { tempDir } from '../kit/tempdir.ts'

const SIZE = { services: 4, workloads: 20, policies: 20 }

t.test('an edit is sent to those whom it concerns', async (t) => {
  const root = tempDir(t)
  const [manifests, state] = [join(root, 'm'), join(root, 's')]
  mkdirSync(manifests)
  writeManifests(manifests, SIZE)
  const controller = startController(t, { manifests, state })
  const target = `127.0.0.1:${await controller.meshPort()}`
  const fleet = new Fleet({ pid: controller.process.pid, state, target })
  t.teardown(() => fleet.stop())
  const all = workloadNames(SIZE)
  await fleet.connect(all)
  t.same(fleet.ledger.tally().proxies, [...all].sort(), 'every proxy has its configuration')
  t.equal(fleet.ledger.tally().bundles, 20)

  const text = buildPolicy(SIZE, 0, 1)
  const one = await fleet.edit(manifests, ONE_WORKLOAD_FILE, { text, proxies: 1, bundles: 1 })
  t.same(one.proxies, [all[0]], 'a policy of one workload: its proxy')
  t.equal(one.messages, 1)
  t.equal(one.bundles, 1)

  const wide = { text: buildMeshWide(0, 1), proxies: 20, bundles: 20 }
  const every = await fleet.edit(manifests, MESH_WIDE_FILE, wide)
  t.equal(every.proxies.length, 20, 'a policy of the mesh: every proxy')
  t.equal(every.messages, 20, 'and each one message')

  const moved = { text: buildWorkload(SIZE, 1, 1), proxies: hearersOf(SIZE, 1), bundles: 0 }
  const endpoint = await fleet.edit(manifests, workloadFile(1), moved)
  t.equal(endpoint.proxies.length, 11, 'an endpoint: its own proxy and its callers')
  t.equal(endpoint.bundles, 0)

  const same = { text: `# the same\n${buildMeshWide(0, 1)}`, proxies: 0, bundles: 0 }
  await fleet.edit(manifests, MESH_WIDE_FILE, same)
  const again = buildPolicy(SIZE, 0, 2)
  const fence = { text: again, proxies: 1, bundles: 1 }
  const after = await fleet.edit(manifests, ONE_WORKLOAD_FILE, fence)
  t.same(after.proxies, [all[0]], 'what means the same is sent to nobody')
  t.same([...fleet.ledger.failures], [])
  t.same(await controller.problems(), [])
})
