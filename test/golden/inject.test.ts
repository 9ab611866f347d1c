/** Injection: a manifest in, the same with sidecars, and what is said of it, out; and taken apart again, the manifest. */
import t from 'tap'
import { parseAllDocuments } from 'yaml'
import { injectManifest, uninjectManifest } from '../../controller/core/inject/manifest.ts'
import { defaultSettings } from '../../controller/core/inject/settings.ts'
import { golden } from '../kit/golden.ts'

const settings = defaultSettings('1.2.3')

golden(t, 'inject', ({ read }) => {
  const given = parseAllDocuments(read()).map((document) => document.toJS() as unknown)
  const done = given.map((value) => injectManifest(value, settings))
  const again = done.map(({ value }) => injectManifest(value, settings).value)
  t.same(again, done.map(({ value }) => value), 'injected again, it stays the same')
  return {
    'out.yaml': done.map(({ value }) => value),
    'report.yaml': done.flatMap(({ reports }) => reports),
    'undone.yaml': done.map(({ value }) => uninjectManifest(value).value),
  }
})
