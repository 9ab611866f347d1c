/**
 * Runs groups of tests under tap and says what came of them: one line per file, each failure with its diagnosis, and
 * as last line `N passed, N failed`, counted from the TAP stream (kept in .tap/results/<group>.tap).
 * Exit code 1 when anything failed, was skipped, or when nothing ran. Usage: run-tests.ts [group…] (default: all).
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createWriteStream, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { takeDown } from './cluster/down.ts'
import { countTap, type Summary } from './tests/count.ts'
import { filesOf, GROUPS, type Group } from './tests/groups.ts'

const ROOT = join(import.meta.dirname, '..')
const RESULTS = join(ROOT, '.tap/results')
const say = (line: string) => void process.stdout.write(`${line}\n`)
/** Of this run alone: its files find it by the name, and whose it is by the pid in that. */
const CLUSTER = `t${process.pid}`
let running: ChildProcess | undefined

async function runGroup(group: Group, files: readonly string[]): Promise<Summary> {
  say(`# ${group.name}: ${files.length} files`)
  const flags = ['run', '--disable-coverage', '--reporter=tap', `--timeout=${group.timeout}`]
  if (group.jobs !== undefined) flags.push(`--jobs=${group.jobs}`)
  const tap = join(ROOT, 'node_modules/.bin/tap')
  const child = spawn(process.execPath, [tap, ...flags, ...files], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: group.hasCluster ? { ...process.env, POSTERN_TEST_CLUSTER: CLUSTER } : process.env,
  })
  running = child
  const raw = createWriteStream(join(RESULTS, `${group.name}.tap`))
  const counter = countTap({
    onFile: (name, ok, ms) =>
      say(`${ok ? 'ok' : 'FAILED'}  ${name}  ${((ms ?? 0) / 1000).toFixed(1)} s`),
    onFailure: (path, diagnosis) => say(`FAILED  ${path.join(' > ')}\n${indent(diagnosis)}`),
    onSkip: (path) => say(`SKIPPED  ${path.join(' > ')}`),
  })
  child.stdout.setEncoding('utf8')
  for await (const chunk of child.stdout) {
    raw.write(chunk)
    counter.write(chunk)
  }
  raw.end()
  const code = await new Promise<number | null>((resolve) =>
    child.exitCode === null ? child.once('close', resolve) : resolve(child.exitCode),
  )
  running = undefined
  const summary = counter.end()
  if (code !== 0 && summary.failed === 0) {
    say(`FAILED  tap ended with ${code ?? child.signalCode} though no assertion failed`)
    return { ...summary, failed: 1, ok: false }
  }
  return summary
}

function indent(text: string): string {
  return text.replace(/^/gm, '    ').trimEnd()
}

async function main(names: readonly string[]): Promise<boolean> {
  const unknown = names.filter((name) => !GROUPS.some((group) => group.name === name))
  if (unknown.length > 0) throw new Error(`no such group of tests: ${unknown.join(', ')}`)
  mkdirSync(RESULTS, { recursive: true })
  const total = { passed: 0, failed: 0, skipped: 0, ok: true }
  for (const group of GROUPS.filter(({ name }) => names.length === 0 || names.includes(name))) {
    const files = filesOf(group, ROOT)
    if (files.length === 0) continue
    const summary = await runGroup(group, files)
    if (group.hasCluster) await takeDown(CLUSTER)
    total.passed += summary.passed
    total.failed += summary.failed
    total.skipped += summary.skipped
    total.ok &&= summary.ok
  }
  if (total.skipped > 0) say(`${total.skipped} skipped: a skipped test counts as a failed run`)
  if (total.passed + total.failed === 0) say('no test ran: that counts as a failed run')
  const line = `${total.passed} passed, ${total.failed} failed`
  writeFileSync(join(RESULTS, 'summary.txt'), `${line}\n`)
  say(line)
  return total.ok && total.skipped === 0 && total.passed > 0
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    running?.kill(signal)
    process.exitCode = 1
  })
}
if (!(await main(process.argv.slice(2)))) process.exitCode = 1
