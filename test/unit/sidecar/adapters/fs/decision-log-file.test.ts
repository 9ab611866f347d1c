import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { DecisionLogFile } from '../../../../../sidecar/adapters/fs/decision-log-file.ts'
import { makeReadOnly } from '../../../../kit/small-disk.ts'
import { tempDir } from '../../../../kit/tempdir.ts'
import { waitFor } from '../../../../kit/wait.ts'

t.test('each record is one line, after what was there', async (t) => {
  const path = join(tempDir(t), 'log')
  writeFileSync(path, '{"a":0}\n')
  const log = new DecisionLogFile(path)
  t.equal(log.append({ a: 1 }), true)
  t.equal(log.append({ a: 'x\ny' }), true)
  log.close()
  t.equal(readFileSync(path, 'utf8'), '{"a":0}\n{"a":1}\n{"a":"x\\ny"}\n')
})

t.test('what a terminal would obey is escaped, and means the same', async (t) => {
  const path = join(tempDir(t), 'log')
  const log = new DecisionLogFile(path)
  const agent = 'a\u009b31m\u202eb\u2028c\u001bd\u{e0001}é'
  log.append({ agent })
  log.close()
  const text = readFileSync(path, 'utf8')
  t.equal(text, '{"agent":"a\\u009b31m\\u202eb\\u2028c\\u001bd\\udb40\\udc01é"}\n')
  t.same(JSON.parse(text), { agent })
})

t.test('a line that a killed process left unfinished spoils no other', async (t) => {
  const path = join(tempDir(t), 'log')
  writeFileSync(path, '{"a":0}\n{"to')
  const main = new DecisionLogFile(path)
  const worker = new DecisionLogFile(path, { torn: main.torn })
  t.equal(worker.append({ a: 1 }), true)
  t.equal(main.append({ a: 2 }), true)
  for (const log of [main, worker]) log.close()
  t.equal(readFileSync(path, 'utf8'), '{"a":0}\n{"to\n{"a":1}\n{"a":2}\n')
})

t.test('a new file is readable by its owner alone', async (t) => {
  const path = join(tempDir(t), 'log')
  new DecisionLogFile(path).close()
  t.equal(statSync(path).mode & 0o777, 0o600)
})

t.test('what cannot be written is said, not thrown', async (t) => {
  const full = new DecisionLogFile('/dev/full')
  t.equal(full.append({}), false)
  const cyclic: Record<string, unknown> = {}
  cyclic.self = cyclic
  const path = join(tempDir(t), 'log')
  const log = new DecisionLogFile(path)
  t.equal(log.append(cyclic), false)
  log.close()
  t.equal(log.append({}), false, 'closed')
  t.equal(readFileSync(path, 'utf8'), '')
})

t.test('a file that cannot be opened is an error at once', async (t) => {
  const path = join(tempDir(t), 'no', 'log')
  t.throws(() => new DecisionLogFile(path), {
    code: 'ERR_CONFIG',
    message: `cannot open ${path} (ENOENT); check its folder, disk and permissions`,
  })
})

t.test('reopen goes on in the new file after a rotation', async (t) => {
  const path = join(tempDir(t), 'log')
  const log = new DecisionLogFile(path)
  log.append({ n: 1 })
  renameSync(path, `${path}.1`)
  log.append({ n: 2 })
  log.reopen()
  log.append({ n: 3 })
  log.close()
  t.equal(readFileSync(`${path}.1`, 'utf8'), '{"n":1}\n{"n":2}\n')
  t.equal(readFileSync(path, 'utf8'), '{"n":3}\n')
})

t.test('a rotation is noticed without a signal', async (t) => {
  const path = join(tempDir(t), 'log')
  let nowMs = 0
  const log = new DecisionLogFile(path, { monotonicMs: () => nowMs })
  log.append({ n: 1 })
  rmSync(path)
  nowMs = 2000
  t.equal(log.append({ n: 2 }), true)
  log.close()
  t.equal(readFileSync(path, 'utf8'), '{"n":2}\n')
})

t.test('while a rotated file cannot be opened again, records go on to the old one', async (t) => {
  let nowMs = 0
  const faults: unknown[] = []
  const dir = join(tempDir(t), 'logs')
  mkdirSync(dir)
  const path = join(dir, 'log')
  const log = new DecisionLogFile(path, {
    monotonicMs: () => nowMs,
    onFault: (fault) => faults.push(fault),
  })
  log.append({ n: 1 })
  renameSync(dir, `${dir}.old`)
  for (const n of [2, 3]) {
    nowMs += 1001
    t.equal(log.append({ n }), true, 'nobody is refused for it')
  }
  log.reopen()
  t.equal(faults.length, 1, 'said once')
  t.match(faults[0], { code: 'ERR_STATE_WRITE' })
  mkdirSync(dir)
  nowMs += 1001
  t.equal(log.append({ n: 4 }), true)
  log.close()
  t.equal(readFileSync(join(`${dir}.old`, 'log'), 'utf8'), '{"n":1}\n{"n":2}\n{"n":3}\n')
  t.equal(readFileSync(path, 'utf8'), '{"n":4}\n')
})

t.test(
  'a rotation is noticed while nothing is written: a removed file keeps its blocks',
  async (t) => {
    const path = join(tempDir(t), 'log')
    const log = new DecisionLogFile(path, { lookEveryMs: 5 })
    t.teardown(() => log.close())
    log.append({ n: 1 })
    rmSync(path)
    await waitFor(() => existsSync(path), { what: 'a new file' })
    t.notMatch(openFiles(), /\(deleted\)/)
  },
)

/** What this process has open. */
function openFiles(): string {
  const links = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`)
    } catch {
      return ''
    }
  })
  return links.filter((link) => link.includes('/log')).join('\n')
}

const isRoot = process.geteuid?.() === 0
t.test('a read-only disk at the start: opened when it can be', { skip: !isRoot }, async (t) => {
  const dir = tempDir(t)
  const path = join(dir, 'log')
  writeFileSync(path, '{"n":0}\n')
  const end = makeReadOnly(t, dir)
  const faults: unknown[] = []
  let mended = 0
  const log = new DecisionLogFile(path, {
    lookEveryMs: 5,
    onFault: (fault) => faults.push(fault),
    onMended: () => {
      mended += 1
    },
  })
  t.teardown(() => log.close())
  t.equal(log.append({ n: 1 }), false)
  t.match(log.problem(), { code: 'ERR_STATE_WRITE', message: /cannot open .*log \(EROFS\)/ })
  t.equal(faults.length, 1)
  end()
  await waitFor(() => mended === 1, { what: 'the file to be opened' })
  t.equal(log.problem(), undefined)
  t.equal(log.append({ n: 2 }), true)
  t.equal(readFileSync(path, 'utf8'), '{"n":0}\n{"n":2}\n')
})
