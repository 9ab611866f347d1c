/**
 * Drift is named file by file, and the descriptors' sources say what requirements.txt pins.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { drift } from '../../../scripts/generate.ts'

const PROTO = join(import.meta.dirname, '../../../proto')

t.test('names what is missing, left over and different', async (t) => {
  const before = new Map([
    ['same', '1'],
    ['changed', '1'],
    ['stale', '1'],
  ])
  const after = new Map([
    ['same', '1'],
    ['changed', '2'],
    ['fresh', '1'],
  ])
  t.same(drift(before, after), ['differs: changed', 'missing: fresh', 'left over: stale'])
  t.same(drift(before, before), [])
})

t.test('proto/SOURCES.md names the packages that requirements.txt pins', async (t) => {
  const sources = readFileSync(join(PROTO, 'SOURCES.md'), 'utf8')
  const requirements = readFileSync(join(PROTO, 'requirements.txt'), 'utf8')
  for (const name of ['xds-protos', 'googleapis-common-protos']) {
    const pin = requirements.match(new RegExp(`^${name}==(\\S+).*\\n.*sha256:([0-9a-f]{64})`, 'm'))
    const row = sources.split('\n').find((line) => line.includes(`\`${name}\``)) ?? ''
    t.match(row, `| ${pin?.[1]} |`)
    t.match(row, `\`${pin?.[2]}\``)
  }
})
