/** An Envoy whose main thread hangs would go on with old rules: it is killed, and another starts. */
import { readFileSync } from 'node:fs'
import { pino } from 'pino'
import t from 'tap'
import {
  answering,
  get,
  makeCa,
  makeWorkloadSvid,
  snapshotWith,
  startTestController,
  startTestSidecar,
  TestIdentity,
  WEB_NODE,
} from '../kit/mesh-parts.ts'
import { freePort } from '../kit/ports.ts'
import { tempDir } from '../kit/tempdir.ts'
import { waitFor } from '../kit/wait.ts'

t.test('killed and replaced, and said so', async (t) => {
  const lines: string[] = []
  const log = pino({ level: 'info' }, { write: (line: string) => lines.push(line) })
  const ca = await makeCa()
  const { target, ads } = await startTestController(t, ca)
  const identity = new TestIdentity()
  identity.set(await makeWorkloadSvid(ca))
  const { supervisor } = await startTestSidecar(t, { dir: tempDir(t), target, identity, log })
  const port = await freePort()
  ads.publish(new Map([[WEB_NODE, snapshotWith(answering(port, 'one'))]]))
  await supervisor.start()
  await waitFor(async () => (await get(port)) === 'one')
  await waitFor(() => supervisor.state().live)
  const pid = Number(/"pid":(\d+),"msg":"envoy started"/.exec(lines.join('\n'))?.[1])
  process.kill(pid, 'SIGSTOP')
  supervisor.poke()
  const signal = AbortSignal.timeout(25_000)
  await waitFor(() => supervisor.state().restarts === 1, { signal })
  t.throws(() => readFileSync(`/proc/${pid}/status`), { code: 'ENOENT' })
  t.match(lines.join('\n'), /"pid":\d+,"msg":"envoy does not answer; it is killed"/)
  await waitFor(async () => (await get(port)) === 'one')
})
