/**
 * The drills on real stacks, at a length that CI has time for; `make proof` runs them at full length.
 * Each claim of a drill is one assertion.
 */
import { join } from 'node:path'
import t from 'tap'
import { WORKLOADS } from '../../demo/shop.ts'
import { drillRegoEdit, drillRulesEdit } from '../../drills/edit.ts'
import { drillEndlessPolicy, drillOnePackage } from '../../drills/hostile.ts'
import { onStack } from '../../drills/main.ts'
import { drillOutage } from '../../drills/outage.ts'
import { drillRenewal, withShortSvids } from '../../drills/renewal.ts'
import { drillStranger } from '../../drills/stranger.ts'
import { build } from '../../scripts/build.ts'
import { judge } from '../kit/drill.ts'
import { tempDir } from '../kit/tempdir.ts'

/** Away from the demo's and the proof's ports. */
const PORT_OFFSET = 3000

t.test('edits, packages, strangers and outages', { timeout: 180_000 }, async (t) => {
  // As it is installed, not as it is written.
  const cli = join(await build(join(tempDir(t), 'postern')), 'cli/main.js')
  const parts = ['controller', ...WORKLOADS]
  const programs = Object.fromEntries(parts.map((part) => [part, cli]))
  const reports = await onStack({ portOffset: PORT_OFFSET, programs }, async (stack) => [
    await drillRulesEdit(stack, 1),
    await drillRegoEdit(stack, 1),
    await drillOnePackage(stack),
    await drillStranger(stack),
    await drillOutage(stack, 1),
  ])
  judge(t, reports)
})

t.test('SVIDs of 20 s: renewals and an endless policy', { timeout: 180_000 }, async (t) => {
  const reports = await onStack(
    { portOffset: PORT_OFFSET, edit: withShortSvids },
    async (stack) => [await drillRenewal(stack, 2), await drillEndlessPolicy(stack)],
  )
  judge(t, reports)
})
