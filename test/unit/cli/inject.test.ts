import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parseAllDocuments } from 'yaml'
import { runCli } from '../../kit/cli.ts'
import { tempDir } from '../../kit/tempdir.ts'

const POD = `apiVersion: v1
kind: Pod
metadata: { name: web, labels: { switch: "off", mode: "0644" } }
spec: { containers: [{ name: app, image: example.com/app:1 }] }
`
const objects = (text: string) =>
  parseAllDocuments(text.slice(0, text.search(/^(?:un)?injected: /m)), { version: '1.1' }).map(
    (d) => d.toJS(),
  )

t.test('inject and uninject', async (t) => {
  const dir = tempDir(t)
  const file = (name: string, text: string) => {
    writeFileSync(join(dir, name), text)
    return join(dir, name)
  }
  const settings = file('settings.yaml', 'sidecarImage: registry.example.com/sidecar:9\n')
  const given = file('in.yaml', `${POD}---\nkind: Service\napiVersion: v1\n`)
  const injected = await runCli(['inject', '-f', given, '--settings', settings, '--revision', 'b'])
  t.match(injected, { code: 0, said: /^injected: Pod web$/m })
  const [pod, service] = objects(injected.said)
  t.match(pod, {
    // As kubectl reads it, these stay text.
    metadata: { labels: { switch: 'off', mode: '0644', 'postern.dev/rev': 'b' } },
    spec: {
      initContainers: [{ name: 'postern-init' }, { image: 'registry.example.com/sidecar:9' }],
    },
  })
  t.same(service, { kind: 'Service', apiVersion: 'v1' })
  const back = await runCli([
    'uninject',
    '-f',
    file('out.yaml', injected.said.split('injected')[0] ?? ''),
  ])
  t.same(
    objects(back.said),
    parseAllDocuments(`${POD}---\nkind: Service\napiVersion: v1\n`).map((d) => d.toJS()),
  )

  t.test('writes nothing when a pod is refused', async (t) => {
    const refused = await runCli([
      'inject',
      '-f',
      file('bad.yaml', POD.replace('name: app', 'name: postern-sidecar')),
    ])
    t.equal(refused.code, 1)
    t.match(
      refused.said,
      /^refused: Pod web\n {2}spec\.containers\[0\]\.name: .*choose another name\n$/,
    )
  })

  t.test('a wrong command line', async (t) => {
    t.match(await runCli(['inject', '-f', join(dir, 'none')]), { code: 2, said: /can't be read/ })
    t.match(await runCli(['inject', '-f', file('x.yaml', 'a: [')]), { code: 2, said: /x\.yaml:1:/ })
    const wrong = file('wrong.yaml', 'sidecarImag: x\nconcurrency: 0\n')
    const mistakes = await runCli(['inject', '-f', given, '--settings', wrong])
    t.match(mistakes, { code: 2, said: /sidecarImag is no setting.*\n.*concurrency must be/ })
    t.match(await runCli(['sidecar', 'drain']), { code: 2, said: /usage: postern sidecar drain/ })
    t.match(await runCli(['sidecar', 'drain', '--run-dir', dir]), {
      code: 1,
      said: /no Envoy answers/,
    })
  })
})
