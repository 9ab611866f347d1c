/** The parts of one workload never see another's SVID. */
import t from 'tap'
import type { Svid } from '../../../../sidecar/ports.ts'
import { OneWorkload } from '../../../../sidecar/runtime/one-workload.ts'
import { makeCa, makeWorkloadSvid, TestIdentity } from '../../../kit/mesh-parts.ts'

const ca = await makeCa()

class Identity extends TestIdentity {
  async updateTrustBundle() {}
}

async function start() {
  const identity = new Identity()
  const svid = await makeWorkloadSvid(ca)
  identity.set(svid)
  const one = new OneWorkload(identity, svid.workload)
  const seen: Svid[] = []
  one.subscribe((s) => seen.push(s))
  return { identity, one, seen, svid }
}

t.test('a renewal passes', async (t) => {
  const { identity, one, seen, svid } = await start()
  const renewed = await makeWorkloadSvid(ca)
  identity.set(renewed)
  t.same(
    seen.map((s) => s.serialNumber),
    [svid.serialNumber, renewed.serialNumber],
  )
  t.equal(one.current(), renewed)
})

for (const change of [{ uid: 'uid-new' }, { name: 'other' }, { namespace: 'other' }])
  t.test(`another ${Object.keys(change)[0]} does not, and is told`, async (t) => {
    const { identity, one, seen, svid } = await start()
    const other = { ...svid, workload: { ...svid.workload, ...change } }
    identity.set(other)
    t.equal(await one.moved, other)
    t.equal(seen.length, 1)
    t.equal(one.current(), undefined)
  })
