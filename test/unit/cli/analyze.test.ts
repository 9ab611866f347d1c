import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { runCli } from '../../kit/cli.ts'
import { tempDir } from '../../kit/tempdir.ts'

const policy = (paths: string) => `apiVersion: postern.dev/v1alpha1
kind: AuthorizationPolicy
metadata: { name: a, namespace: shop }
spec: { rules: [{ to: [{ operation: { paths: [${paths}] } }] }] }
`

t.test('exit codes and output', async (t) => {
  const dir = tempDir(t)
  mkdirSync(join(dir, 'below'))
  writeFileSync(join(dir, 'below/a.yaml'), policy('"/public*"'))
  writeFileSync(join(dir, 'notes.txt'), 'no manifest')
  writeFileSync(join(dir, '.hidden.yaml'), '{')
  const ask = (...argv: string[]) => runCli(['analyze', ...argv])
  t.match(await ask('-f', dir), {
    code: 0,
    said: /warning +\S+below\/a\.yaml:4 +AuthorizationPolicy\/shop\/a .*LINT_PREFIX_WITHOUT_SLASH/,
  })
  t.match(await ask('--strict', '-f', dir), { code: 1, said: /0 errors, 1 warnings, 0 infos/ })
  writeFileSync(join(dir, 'below/a.yaml'), policy('"/a/../b"'))
  const json = await ask('-f', dir, '-o', 'json')
  t.equal(json.code, 1)
  t.match(JSON.parse(json.said), [
    { code: 'ERR_FIELD_VALUE', severity: 'error', source: { line: 4 } },
  ])
  writeFileSync(join(dir, 'below/a.yaml'), policy('/a'))
  const clean = await ask('-f', join(dir, 'below/a.yaml'), '--strict')
  t.match(clean, { code: 0, said: /nothing found/ })
  t.match(await ask('-f', join(dir, 'none')), { code: 2, said: /can't be read/ })
  t.match(await ask('-o', 'xml'), { code: 2 })
  mkdirSync(join(dir, 'empty'))
  t.match(await ask('-f', join(dir, 'empty')), { code: 2, said: /there are no manifests/ })
})
