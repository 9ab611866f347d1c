import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { DecisionLogFile } from '../../../../../sidecar/adapters/fs/decision-log-file.ts'
import { tempDir } from '../../../../kit/tempdir.ts'

t.test('each record is one line, after what was there', async (t) => {
  const path = join(tempDir(t), 'log')
  writeFileSync(path, '{"a":0}\n')
  const log = new DecisionLogFile(path)
  t.equal(log.append({ a: 1 }), true)
  t.equal(log.append({ a: 'x\ny' }), true)
  log.close()
  t.equal(readFileSync(path, 'utf8'), '{"a":0}\n{"a":1}\n{"a":"x\\ny"}\n')
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
  t.throws(() => new DecisionLogFile(join(tempDir(t), 'no', 'log')))
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
  t.match(faults[0], { code: 'ENOENT' })
  mkdirSync(dir)
  nowMs += 1001
  t.equal(log.append({ n: 4 }), true)
  log.close()
  t.equal(readFileSync(join(`${dir}.old`, 'log'), 'utf8'), '{"n":1}\n{"n":2}\n{"n":3}\n')
  t.equal(readFileSync(path, 'utf8'), '{"n":4}\n')
})
