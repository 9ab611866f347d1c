/** What `postern analyze` says of each case's manifests; every check of the table speaks in one of them. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { t } from 'tap'
import { analyze } from '../../controller/core/analyze/analyze.ts'
import { LINT_CHECKS } from '../../controller/core/analyze/checks.ts'
import { golden } from '../kit/golden.ts'

const ROOM = join(import.meta.dirname, 'analyze')

await golden(t, 'analyze', ({ read }) => ({
  'out.findings.yaml': analyze([{ path: 'in.yaml', text: read() }]),
}))

t.test('each check has a case where it speaks', async (t) => {
  const said = readdirSync(ROOM)
    .map((name) => readFileSync(join(ROOM, name, 'out.findings.yaml'), 'utf8'))
    .join('')
  for (const { code } of LINT_CHECKS) t.ok(said.includes(`code: ${code}\n`), code)
})
