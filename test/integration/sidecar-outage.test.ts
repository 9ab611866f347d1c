/**
 * What a sidecar lives through, with real processes: an Envoy that keeps dying, clocks that jump, a controller that is
 * away, comes back, or is something else. Calls go on; nothing is taken from who can't prove itself.
 */
import { randomBytes } from 'node:crypto'
import { chmodSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { nodeKeys } from '../../controller/adapters/crypto/keys.ts'
import { createIdentityStore } from '../../controller/adapters/state/identity-store.ts'
import { openControllerIdentity } from '../../controller/runtime/identity/identity.ts'
import { envoyOf } from '../../drills/outage.ts'
import {
  type Garbage,
  type ServerIdentity,
  serveBroken,
  serveBytes,
  serveHttp,
  someBytes,
} from '../kit/garbage.ts'
import { makeCa, makeSvid, toPem } from '../kit/identity.ts'
import { type Life, startLife } from '../kit/life.ts'
import { makeReadOnly } from '../kit/small-disk.ts'
import { tempDir } from '../kit/tempdir.ts'
import { toolPath } from '../kit/tools.ts'
import { waitFor } from '../kit/wait.ts'

const HOUR_MS = 3_600_000
const clock = { now: () => Date.now(), monotonic: () => performance.now() }

/** Calls without end until it is stopped; then whether each was answered with 200. */
function keepCalling(life: Life) {
  const wrong: number[] = []
  let isOn = true
  const running = (async () => {
    while (isOn) {
      const status = await life.statusOf('/ok')
      if (status !== 200) wrong.push(status)
      await delay(5)
    }
  })()
  return async () => {
    isOn = false
    await running
    return wrong
  }
}

/** An Envoy that dies at its start as long as the file `broken` is there. */
function fragileEnvoy(dir: string) {
  const path = join(dir, 'envoy')
  const broken = join(dir, 'broken')
  const script = `#!/bin/sh\n[ -e '${broken}' ] && exit 7\nexec '${toolPath('envoy')}' "$@"\n`
  writeFileSync(path, script)
  chmodSync(path, 0o755)
  return { path, broken }
}

t.test('an Envoy that keeps dying, and clocks that jump', async (t: Test) => {
  const files = tempDir(t)
  const offset = join(files, 'offset')
  writeFileSync(offset, '0')
  const envoy = fragileEnvoy(files)
  const preload = join(import.meta.dirname, '../kit/shifted-clock.ts')
  const life = await startLife(t, {
    ...{ svidSeconds: 4 * 3600, envoy: envoy.path },
    env: { NODE_OPTIONS: `--import=${preload}`, POSTERN_TEST_CLOCK: offset },
  })
  await life.untilReady()
  const { sidecar } = life.world

  await t.test('an hour forth, an hour back, and once more back', async (t) => {
    const stop = keepCalling(life)
    const serial = await life.serial()
    for (const [i, hours] of [1, 0, -1].entries()) {
      writeFileSync(offset, `${hours * HOUR_MS}`)
      await life.edit(`/jump/${i}`)
      t.ok((await life.readiness()).ready, `${hours} h: edits reach it, it is ready`)
    }
    t.equal(await life.serial(), serial, 'nothing was renewed before its time')
    writeFileSync(offset, `${2.5 * HOUR_MS}`)
    await waitFor(async () => (await life.serial()) !== serial, { what: 'a renewal' })
    writeFileSync(offset, '0')
    await life.edit('/jump/end')
    t.same(await stop(), [], 'no call failed')
    t.match(sidecar.lines.join('\n'), /"time":1\d{12}/)
    t.notMatch(sidecar.lines.join('\n'), /identity has expired/)
  })

  await t.test('Envoy dies at each start: ever later, and status says why', async (t) => {
    writeFileSync(envoy.broken, '')
    process.kill(envoyOf(sidecar.pid) ?? 0, 'SIGKILL')
    await life.untilSaid(/envoy keeps dying and is started again, ever later: exit code 7/)
    t.notOk((await life.readiness()).ready)
    await waitFor(async () => /keeps dying.*exit code 7/.test(await life.connected()), {
      what: 'the controller’s status to say so',
    })
    const delays = () =>
      sidecar.lines.flatMap((line) => {
        const [, ms] = /"reason":"exit code 7","delayMs":(\d+)/.exec(line) ?? []
        return ms === undefined ? [] : [Number(ms)]
      })
    await waitFor(() => delays().includes(2000), { what: 'longer waits' })
    t.same(
      delays(),
      delays().toSorted((x, y) => x - y),
      'each is longer',
    )
    rmSync(envoy.broken)
    await life.untilReady()
    t.equal(await life.statusOf('/ok'), 200)
  })
})

/** The reserved identity of this mesh, as the controller that is stopped would have. */
async function controllerIdentity(life: Life): Promise<ServerIdentity> {
  const identity = await openControllerIdentity({
    ...{ trustDomain: 'shop.example', keys: nodeKeys, clock, randomBytes },
    store: createIdentityStore(join(life.controllerState, 'ca')),
    directory: { settings: () => undefined, workloadOf: () => undefined },
    isLive: async () => false,
    log: { info() {}, warn() {}, error() {} },
    onRevoked: () => {},
  })
  identity.stop()
  const { certificateChainPem, privateKeyPem } = identity.own.current()
  return { certificateChainPem, privateKeyPem: privateKeyPem.reveal() }
}

/** Says that it is the controller, by another root. */
async function impostor(): Promise<ServerIdentity> {
  const ca = await makeCa()
  const names = { namespace: 'postern-system', serviceAccount: 'postern-controller' }
  const { der, key } = await makeSvid(ca, { ...names, workloadUid: 'controller' })
  const pem = key.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
  return { certificateChainPem: toPem(der), privateKeyPem: pem }
}

function memoryOf(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024
}

t.test('a controller that is something else, and then itself again', async (t: Test) => {
  const life = await startLife(t)
  await life.untilReady()
  const stop = keepCalling(life)
  const { pid, lines } = life.world.sidecar
  const before = memoryOf(pid)
  await life.world.controller.process.stop()
  const [right, wrong] = [await controllerIdentity(life), await impostor()]
  const { mesh } = life.ports
  const kinds: readonly [string, () => Promise<Garbage>][] = [
    ['plain HTTP', () => serveHttp(mesh)],
    ['random bytes', () => serveBytes(mesh, someBytes)],
    ['silence', () => serveBytes(mesh)],
    ['the controller’s id, of another root', () => serveBroken(mesh, wrong, 'truncated')],
    ['the controller’s own id, and half messages', () => serveBroken(mesh, right, 'truncated')],
    [
      'the controller’s own id, and messages without end',
      () => serveBroken(mesh, right, 'enormous'),
    ],
  ]
  for (const [name, serve] of kinds) {
    const garbage = await serve()
    t.teardown(() => garbage.stop())
    // Of another root: refused in the handshake, so that no call is ever made.
    if (name.includes('another root')) await life.untilSaid(/ERR_CONTROLLER_UNTRUSTED/)
    else await waitFor(() => garbage.visits() >= 2, { what: `visits of ${name}` })
    t.match(await life.readiness(), { ready: true, detail: /ERR_CONTROLLER_|ERR_BUNDLE_/ }, name)
    await garbage.stop()
  }
  const grown = memoryOf(pid) - before
  t.ok(grown < 300, `memory grew by ${Math.round(grown)} MiB`)

  await t.test('its state read-only while it comes back', async () => {
    const end = makeReadOnly(t, life.state)
    await life.startControl()
    await life.edit('/back')
    await life.untilSaid(/xds cache not written.*policy bundle not stored/)
    end()
    await waitFor(async () => (await life.readiness()).detail === '', {
      what: 'all to be stored',
      signal: AbortSignal.timeout(20_000),
    })
  })
  t.same(await stop(), [], 'no call failed all the while')
  t.match(lines.join('\n'), /connected to the controller/)
})
