/**
 * Version skew with 0.1 as it was: older sidecar and newer controller, and the reverse (issue 5, Shows 7). Each claim of
 * the drill is one assertion. And the packed version is what its commit says, where the clone has it.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import t from 'tap'
import { onStack } from '../../drills/main.ts'
import { drillSkew } from '../../drills/skew.ts'
import { archiveOf, VERSIONS, withVersion } from '../../drills/versions.ts'
import { packVersion } from '../../scripts/pack-version.ts'

const PORT_OFFSET = 5000

t.test('older and newer', { timeout: 120_000 }, async (t) => {
  const reports = await withVersion('0.1', (old) =>
    onStack({ portOffset: PORT_OFFSET, programs: { 'shop/orders': old } }, async (stack) => [
      await drillSkew(stack),
    ]),
  )
  for (const { text, holds, seen } of reports.flatMap(({ claims }) => claims))
    t.ok(holds, `${text} (${seen})`)
})

function isHere(commit: string): boolean {
  try {
    execFileSync('git', ['cat-file', '-e', `${commit}^{commit}`], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

t.test('a packed version is its commit', async (t) => {
  for (const [version, commit] of Object.entries(VERSIONS)) {
    if (!isHere(commit)) {
      t.comment(`${commit} is not in this clone: ${version} is taken on trust`)
      continue
    }
    const packed = gunzipSync(readFileSync(archiveOf(version as keyof typeof VERSIONS)))
    t.ok(packed.equals(gunzipSync(await packVersion(commit))), version)
  }
  t.pass('read')
})
