/** docs/reference/config.md is what the option tables say, whatever the environment is that it was written in. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { optionsOf } from '../../../controller/config.ts'
import { configDocs } from '../../../scripts/gen-config-docs.ts'
import { SIDECAR_OPTIONS, variableOf } from '../../../sidecar/config.ts'

const PAGE = join(import.meta.dirname, '../../../docs/reference/config.md')

t.test('what is committed is what the tables say', async (t) => {
  t.equal(readFileSync(PAGE, 'utf8'), configDocs())
})

t.test('every option has a row with its variable, default and meaning', async (t) => {
  const page = configDocs()
  for (const option of Object.values(optionsOf('.tools/opa'))) t.match(page, row(option.flag))
  for (const { flag } of SIDECAR_OPTIONS) {
    t.match(page, row(`--${flag}`))
    t.match(page, `\`${variableOf(flag)}\``)
  }
  t.match(page, '| `--drain-seconds` | `N` seconds |')
  t.match(page, '| `--decision-log` | `FILE\\|-` |', 'a pipe does not end a cell')
  t.match(page, 'manifests (\\*.yaml,', 'a star is a star')
})

t.test('the environment of the generator does not show', async (t) => {
  const before = configDocs()
  const old = process.env.POSTERN_STATE
  process.env.POSTERN_STATE = '/elsewhere'
  t.teardown(() => {
    if (old === undefined) delete process.env.POSTERN_STATE
    else process.env.POSTERN_STATE = old
  })
  t.equal(configDocs(), before)
})

function row(flag: string): string {
  return `| \`${flag}\` | `
}
