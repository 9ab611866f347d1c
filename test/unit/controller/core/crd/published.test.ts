/** Every manifest that users are shown is valid: the demo's, and those in the docs. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { formatProblem } from '../../../../../common/errors.ts'
import { parseManifests } from '../../../../../controller/core/crd/manifests.ts'

const ROOT = join(import.meta.dirname, '../../../../..')

function markdownFiles(folder: string): string[] {
  if (!existsSync(join(ROOT, folder))) return []
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.md'))
    .map((file) => join(folder, file))
}

t.test('the demo', async (t) => {
  const folder = 'demo/manifests'
  const files = existsSync(join(ROOT, folder)) ? readdirSync(join(ROOT, folder)) : []
  const texts = files.map((path) => ({
    path,
    text: readFileSync(join(ROOT, folder, path), 'utf8'),
  }))
  t.same(parseManifests(texts).problems.map(formatProblem), [])
})

t.test('the docs', async (t) => {
  for (const path of ['README.md', ...markdownFiles('docs'), ...markdownFiles('demo')]) {
    if (!existsSync(join(ROOT, path))) continue
    const blocks = readFileSync(join(ROOT, path), 'utf8').matchAll(/^```ya?ml\n([\s\S]*?)^```/gm)
    for (const [, text = ''] of blocks) {
      if (!/^apiVersion: postern\.dev\//m.test(text)) continue
      t.same(parseManifests([{ path, text }]).problems.map(formatProblem), [], path)
    }
  }
})
