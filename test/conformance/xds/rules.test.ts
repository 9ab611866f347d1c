/** Every rule of delta xDS, against the controller's port and against the sidecar's socket, over real gRPC. */
import t from 'tap'
import { startControllerTarget, startSidecarTarget } from '../../kit/xds-targets.ts'
import { World } from './rule.ts'
import { RULES } from './rules.ts'

const STARTS = { controller: startControllerTarget, sidecar: startSidecarTarget }

t.test('there are rules enough', async (t) => {
  t.ok(RULES.length >= 30)
  t.equal(new Set(RULES.map((rule) => rule.title)).size, RULES.length)
})

for (const [name, start] of Object.entries(STARTS)) {
  t.test(`the ${name}`, async (t) => {
    for (const rule of RULES.filter(({ only }) => only === undefined || only === name)) {
      await t.test(`${rule.id} ${rule.title}`, async (t) => {
        const world = new World(t, await start(t))
        await rule.run(world)
        await world.close()
      })
    }
  })
}
