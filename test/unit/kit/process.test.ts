/**
 * The process helper: waits end, children end, leftovers are found. Real children, started with Node itself.
 */
import t from 'tap'
import { freePorts } from '../../kit/ports.ts'
import { startProcess } from '../../kit/process.ts'
import { waitFor, waitForPort } from '../../kit/wait.ts'

type Teardown = () => unknown

/** Stands in for a test that ends when we say so. */
function endable() {
  const teardowns: Teardown[] = []
  const failures: string[] = []
  return {
    failures,
    teardown: (f: Teardown) => void teardowns.unshift(f),
    fail: (message?: unknown) => !failures.push(String(message)),
    end: async () => {
      for (const f of teardowns) await f()
    },
  }
}

const node = (t: unknown, code: string) => startProcess(t as never, process.execPath, ['-e', code])
const isAlive = (pid: number) => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

t.test('waits for a line and gives its parts', async (t) => {
  const child = node(
    t,
    'console.log("starting"); console.error("port 17"); setInterval(() => {}, 1000)',
  )
  const match = await child.waitForLine(/port (\d+)/)
  t.equal(match[1], '17')
  t.same(await child.stop(), { code: null, signal: 'SIGTERM' })
})

t.test('rejects at once, with the output, when the child ends before the line comes', async (t) => {
  const child = node(t, 'console.log("no luck"); process.exit(3)')
  await t.rejects(child.waitForLine(/never/), { message: /ended with 3:\nno luck/ })
  t.same(await child.exited, { code: 3, signal: null })
})

t.test('a line that comes with the end still counts', async (t) => {
  const child = node(t, 'console.log("last words")')
  t.ok(await child.waitForLine(/last words/))
})

t.test('gives up when the signal says so', async (t) => {
  const child = node(t, 'setInterval(() => {}, 1000)')
  const signal = AbortSignal.timeout(50)
  await t.rejects(child.waitForLine(/never/, { signal }), { message: /gave up.*is running/s })
})

t.test('waits for a port', async (t) => {
  const [port] = await freePorts(1)
  node(t, `require('net').createServer().listen(${port}, '127.0.0.1')`)
  await waitForPort(port as number)
})

t.test('the child ends with the test', async (t) => {
  const outer = endable()
  const child = node(outer, 'console.log("up"); setInterval(() => {}, 1000)')
  await child.waitForLine(/up/)
  await outer.end()
  t.notOk(isAlive(child.pid))
  t.same(outer.failures, [])
})

t.test('a process that the child leaves behind is killed and fails the test', async (t) => {
  const outer = endable()
  const child = node(
    outer,
    `const c = require('child_process').spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'inherit' })
     console.log('left', c.pid)
     c.on('spawn', () => process.exit())`,
  )
  const match = await child.waitForLine(/left (\d+)/)
  await outer.end()
  t.match(outer.failures, [/left processes of its own behind/])
  await waitFor(() => !isAlive(Number(match[1])) || isZombie(Number(match[1])))
})

t.test('free ports differ and lie below the ephemeral range', async (t) => {
  const ports = await freePorts(20)
  t.equal(new Set(ports).size, 20)
  t.ok(ports.every((port) => port >= 10240 && port <= 32000))
})

function isZombie(pid: number): boolean {
  const { readFileSync } = process.getBuiltinModule('node:fs')
  return / Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
}
