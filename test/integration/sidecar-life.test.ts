/**
 * What a sidecar lives through, with real processes: its start and its end, disks that take nothing, sockets that are
 * taken away. Each time: what was good stays, nothing is opened, it is said, and it comes back by itself.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { Agent } from 'node:http'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { startLife } from '../kit/life.ts'
import { makeReadOnly, makeSmallDisk } from '../kit/small-disk.ts'
import { waitFor } from '../kit/wait.ts'

/** A load of one caller after the other; says what did not answer with 200. */
function startCaller(call: () => Promise<number>) {
  const wrong: number[] = []
  let count = 0
  let isOn = true
  const running = (async () => {
    while (isOn) {
      const status = await call()
      count += 1
      if (status !== 200) wrong.push(status)
      // The decision log shall not fill the disk.
      await delay(10)
    }
  })()
  return {
    count: () => count,
    stop: async () => {
      isOn = false
      await running
      return wrong
    },
  }
}

function positions(lines: readonly string[], ...patterns: RegExp[]): number[] {
  return patterns.map((pattern) => lines.findIndex((line) => pattern.test(line)))
}

t.test('starts in order, drains, and ends at once when told twice', async (t: Test) => {
  const life = await startLife(t, { drainSeconds: 60 })
  await life.untilReady()
  t.equal(await life.statusOf('/ok'), 200, 'ready means that the first call passes')
  const { lines } = life.world.sidecar
  const order = positions(lines, /identity obtained/, /policy bundle is active/, /envoy started/)
  t.ok(order[0] !== -1 && Number(order[0]) < Number(order[2]), `an identity, then Envoy: ${order}`)

  await t.test('drain: what is under way ends, nothing new begins', async (t) => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    t.teardown(() => agent.destroy())
    await life.call('/ok', agent)
    const slow = life.call('/slow')
    await waitFor(() => life.app.waiting() === 1)
    life.world.sidecar.kill('SIGTERM')
    await waitFor(async () => (await life.statusOf('/ok')) === 0, { what: 'refusals' })
    t.match(await life.readiness(), { ready: false, detail: /draining, and takes nothing new/ })
    t.match(await life.call('/ok', agent), { status: 200, close: true }, 'told to leave')
    life.app.release()
    t.equal((await slow).status, 200, 'a request under way is finished')
    t.match(await life.world.sidecar.exited, { code: 0 })
  })

  await t.test('the second signal cuts what is under way', async (t) => {
    life.startSidecar()
    await life.untilReady()
    const slow = life.statusOf('/slow')
    await waitFor(() => life.app.waiting() === 1)
    life.world.sidecar.kill('SIGTERM')
    await life.world.sidecar.waitForLine(/"msg":"draining"/)
    life.world.sidecar.kill('SIGTERM')
    t.match(await life.world.sidecar.exited, { code: 0 })
    t.not(await slow, 200)
    life.app.release()
  })
})

t.test('a disk that takes nothing, and a socket that is taken away', async (t: Test) => {
  const disk = makeSmallDisk(t)
  t.comment(`the disk is made full by ${disk.kind}`)
  const log = join(disk.dir, 'decisions.jsonl')
  const life = await startLife(t, { svidSeconds: 10, state: disk.dir, decisionLog: log })
  await life.untilReady()
  const caller = startCaller(() => life.statusOf('/ok'))

  await t.test('full: renewals and edits go on, what must be logged is denied', async (t) => {
    const { pid } = life.world.sidecar
    const before = await life.serial()
    t.ok(before)
    disk.fill(pid)
    await life.untilSaid(/identity: cannot write .*identity\.json.*ERR_STATE_WRITE/)
    await waitFor(async () => (await life.serial()) !== before, {
      what: 'a renewed certificate on the wire',
    })
    await life.edit('/edited')
    await life.untilSaid(/xds cache not written.*policy bundle not stored/)
    t.not(await life.statusOf('/rego'), 200, 'a decision that can’t be logged is none')
    t.ok((await life.readiness()).ready)
    t.match(await life.connected(), /True .*xds cache not written/, 'the controller knows')
    t.ok((await life.metric('postern_decisions_lost_total')) > 0, 'what is lost is counted')

    disk.free(pid)
    await waitFor(async () => (await life.readiness()).detail === '', {
      what: 'all to be stored',
      signal: AbortSignal.timeout(20_000),
    })
    t.equal(await life.statusOf('/rego'), 200)
  })

  await t.test('the socket for Envoy: not ready while it is gone', async (t) => {
    rmSync(join(life.runDir, 'xds.sock'))
    t.match(await life.readiness(), { ready: false, detail: /socket for envoy is gone/ })
    await life.untilReady()
  })

  t.same(await caller.stop(), [], `no call failed of ${caller.count()}`)

  await t.test('what was stored is good: it starts without a controller’s help', async (t) => {
    await life.world.sidecar.stop()
    await life.world.controller.process.stop()
    life.startSidecar()
    await life.untilSaid(/no identity/)
    await life.startControl()
    await life.untilReady()
    t.equal(await life.statusOf('/edited'), 200)
    t.notMatch(life.world.sidecar.lines.join('\n'), /REVOKED|STATE_CORRUPT/)
  })
})

t.test('starts from a disk that takes nothing, with its sockets on that disk', async (t: Test) => {
  const disk = makeSmallDisk(t)
  const log = join(disk.dir, 'decisions.jsonl')
  const given = { state: disk.dir, decisionLog: log, hasDefaultRunDir: true }
  const life = await startLife(t, { svidSeconds: 3600, ...given })
  await life.untilReady()
  t.equal(await life.statusOf('/rego'), 200)
  let elsewhere = ''
  const restart = async (between = () => {}) => {
    await life.world.sidecar.stop()
    between()
    life.startSidecar()
    await life.untilReady()
  }
  /** It goes on in memory, and says what of it is not on the disk: path and code. */
  const check = async (t: Test, code: string) => {
    t.equal(await life.statusOf('/ok'), 200)
    // the log's last block may have room for some more
    await waitFor(async () => (await life.statusOf('/rego')) !== 200, {
      what: 'a decision that can’t be logged, and so is none',
    })
    const at = (file: string) =>
      `cannot \\w+ (in )?${join(disk.dir, file)} \\(${code}\\).*\\[ERR_STATE_WRITE\\]`
    await life.untilSaid(new RegExp(`identity: ${at('identity.json')}`))
    const said = await life.untilSaid(new RegExp(`run directory: ${at('run')}`))
    elsewhere = /the sockets are in (\S+)/.exec(said[0])?.[1] ?? ''
    await life.edit(`/edit/${code}`)
    await life.untilSaid(new RegExp(`xds cache not written.*${at('xds-cache')}`))
    await life.untilSaid(/policy bundle not stored.*ERR_STATE_WRITE.*policy-bundle\.tar\.gz/)
    t.match(await life.connected(), new RegExp(`True .*run directory: ${at('run')}`))
  }
  /** All is as it was, without another start. */
  const untilMended = async () => {
    await waitFor(async () => (await life.readiness()).detail === '', {
      what: 'all to be stored',
      signal: AbortSignal.timeout(30_000),
    })
    await waitFor(async () => (await life.statusOf('/rego')) === 200, { what: 'the decision log' })
  }

  await t.test('full', { skip: disk.kind !== 'tmpfs' && 'needs root' }, async (t) => {
    await restart(() => disk.fill(life.world.sidecar.pid))
    await check(t, 'ENOSPC')
    disk.free(life.world.sidecar.pid)
    await untilMended()
  })

  await t.test('read-only', { skip: process.geteuid?.() !== 0 && 'needs root' }, async (t) => {
    let end = () => {}
    await restart(() => {
      end = makeReadOnly(t, disk.dir)
    })
    await check(t, 'EROFS')
    t.match((await life.readiness()).detail, /decision log: cannot open .*\(EROFS\)/)
    end()
    await untilMended()
  })

  await t.test('sockets are where they were, after the next start', async (t) => {
    await restart()
    t.ok(existsSync(join(life.runDir, 'xds.sock')))
    await life.world.sidecar.stop()
    t.ok(elsewhere.startsWith('/'))
    t.notOk(existsSync(elsewhere), 'nothing is left of the other place')
  })
})

/** One bit of the middle of a file. */
function flip(path: string): void {
  const bytes = readFileSync(path)
  const at = Math.floor(bytes.length / 2)
  bytes[at] = (bytes[at] ?? 0) ^ 4
  writeFileSync(path, bytes)
}

t.test('flipped bits in all that it kept: set aside, said, had again', async (t: Test) => {
  const life = await startLife(t)
  await life.untilReady()
  await life.world.sidecar.stop()
  for (const file of ['xds-cache', 'policy-bundle.tar.gz', 'identity.json'])
    flip(join(life.state, file))
  await life.newToken()
  life.startSidecar()
  await life.untilReady()
  t.equal(await life.statusOf('/ok'), 200)
  const said = life.world.sidecar.lines.join('\n')
  t.match(said, /stored identity is damaged; it was moved aside/)
  t.match(said, /xds cache not used; it was moved aside/)
  t.match(said, /stored policy bundle is not usable/)
  t.equal((await life.readiness()).detail, '')
})
