/**
 * docs/reference/ports-and-files.md against a controller and a sidecar that run: every file of their state directories
 * is on the page with its mode, and nothing on the page is missing. Metrics: telemetry.test.ts.
 */
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, t } from 'tap'
import { optionsOf } from '../../controller/config.ts'
import { Stack } from '../../demo/stack.ts'
import { readTables } from '../kit/doc-tables.ts'
import { tempDir } from '../kit/tempdir.ts'
import { waitFor } from '../kit/wait.ts'

/** Away from the ports of demo, proof and e2e. */
const PORT_OFFSET = 4000
/** Its Rego makes a bundle with a module. */
const WORKLOAD = 'shop/payments'
const PAGE = readTables('docs/reference/ports-and-files.md')
/** Files that the stack keeps in a sidecar's directory by its own choice of options. */
const OPTIONAL = ['join-token', 'decisions.jsonl']
/** Being written; it is renamed to its name when it is whole. */
const BEING_WRITTEN = /^(?:conditions\.json|xds-cache|policy-bundle\.tar\.gz|identity\.json)\.\d+$/

interface Entry {
  /** From the state directory; a directory ends with `/`. */
  readonly path: string
  /** Octal, four digits. */
  readonly mode: string
}

function rowsOf(title: string): readonly (readonly string[])[] {
  const found = PAGE.find(({ title: full, rows }) => full.startsWith(title) && rows.length > 0)
  if (found === undefined) throw new Error(`no table under ${title}`)
  return found.rows
}

function documented(...titles: readonly string[]): readonly Entry[] {
  return titles
    .flatMap(rowsOf)
    .map(([path = '', mode = '']) => ({ path: path.replaceAll('`', ''), mode }))
}

/** What lies in a directory; what is in `tmp/` is nobody's matter. */
function found(dir: string, below = ''): readonly Entry[] {
  return readdirSync(join(dir, below), { withFileTypes: true }).flatMap((entry) => {
    const name = join(below, entry.name)
    if (OPTIONAL.includes(name) || BEING_WRITTEN.test(name)) return []
    const mode = (statSync(join(dir, name)).mode & 0o7777).toString(8).padStart(4, '0')
    if (!entry.isDirectory()) return [{ path: name, mode }]
    const inside = name === 'tmp' ? [] : found(dir, name)
    return [{ path: `${name}/`, mode }, ...inside]
  })
}

function isFor(pattern: Entry, entry: Entry): boolean {
  const parts = pattern.path
    .split(/<\w+>/)
    .map((part) => part.replaceAll(/[.*+?^$()|[\]\\]/g, '\\$&'))
  return new RegExp(`^${parts.join('\\w+')}$`).test(entry.path) && pattern.mode === entry.mode
}

function compare(t: Test, page: readonly Entry[], there: readonly Entry[]): void {
  for (const entry of there)
    t.ok(
      page.some((p) => isFor(p, entry)),
      `${entry.path} ${entry.mode} is on the page`,
    )
  for (const entry of page)
    t.ok(
      there.some((e) => isFor(entry, e)),
      `${entry.path} ${entry.mode} is there`,
    )
}

t.test("the controller's ports are its defaults", async (t) => {
  const { listen, health } = optionsOf('')
  const ports = rowsOf('Ports').slice(0, 2)
  t.same(
    ports.map(([port, , flag]) => [port, flag?.replaceAll('`', '')]),
    [listen, health].map((option) => [option.default.split(':')[1], option.flag]),
  )
})

t.test('files and modes are those of the page', { timeout: 90_000 }, async (t) => {
  const stack = new Stack({ work: tempDir(t), portOffset: PORT_OFFSET })
  t.teardown(() => stack.stop())
  await stack.startController()
  await stack.startSidecar(WORKLOAD)
  await stack.untilReady(WORKLOAD)
  const own = stack.stateOf(WORKLOAD)
  const isStored = () =>
    readdirSync(own).filter((n) => n === 'xds-cache' || n.startsWith('policy-'))
  await waitFor(() => isStored().length === 2, { what: 'the last good to be stored' })
  await waitFor(() => readdirSync(stack.state).includes('conditions.json'))

  compare(t, documented('The controller'), found(stack.state))
  compare(t, documented('A sidecar', 'The run directory'), found(own))
  const log = statSync(stack.decisionLog(WORKLOAD)).mode & 0o777
  t.match(rowsOf('Others')[0]?.[1], log.toString(8).padStart(4, '0'), 'the decision log')

  await stack.stop()
  t.same(found(join(own, 'run')), [], 'no socket is left behind')
})
