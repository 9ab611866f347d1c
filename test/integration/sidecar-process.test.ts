/** The sidecar as a process: what its log tells, and that a state directory has one sidecar at a time. */
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { freePort } from '../kit/ports.ts'
import { startProcess } from '../kit/process.ts'
import { tempDir } from '../kit/tempdir.ts'
import { toolPath } from '../kit/tools.ts'

const CLI = join(import.meta.dirname, '../../cli/main.ts')
/** 16 random bytes: the instance's id opens the controller's live check to who knows it. */
const INSTANCE_ID = /instanceId|\b[0-9a-f]{32}\b/

/** There is no controller: it waits for an identity. */
async function startSidecar(t: Test, state: string) {
  const controller = `127.0.0.1:${await freePort()}`
  const args = [CLI, 'sidecar', '--controller', controller, '--state', state]
  return startProcess(t, process.execPath, [...args, '--envoy', toolPath('envoy')])
}

t.test('the log does not name the instance', async (t) => {
  const sidecar = await startSidecar(t, tempDir(t))
  await sidecar.waitForLine(/identity not obtained|identity refused/)
  await sidecar.stop()
  t.match(sidecar.lines.join('\n'), /sidecar starts/)
  t.notMatch(sidecar.lines.join('\n'), INSTANCE_ID)
})

t.test(
  'the second on a state directory says so and ends; after a kill the next one starts',
  async (t) => {
    const state = tempDir(t)
    const first = await startSidecar(t, state)
    await first.waitForLine(/sidecar starts/)
    const second = await startSidecar(t, state)
    await second.waitForLine(
      /another sidecar .process \d+. uses the state directory .*\[ERR_CONFIG\]/,
    )
    t.not((await second.exited).code, 0)
    first.kill('SIGKILL')
    await first.exited
    const third = await startSidecar(t, state)
    await third.waitForLine(/sidecar starts/)
    await third.stop()
  },
)
