/**
 * A real Envoy under the sidecar's parts, and the controller's port in the same process: what is published is served,
 * what Envoy refuses is told, and what was good stays, whoever is away.
 */
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import * as grpc from '@grpc/grpc-js'
import t, { type Test } from 'tap'
import { toServiceDefinition } from '../../common/grpc-service.ts'
import { AggregatedDiscoveryService } from '../../proto/gen/envoy/service/discovery/v3/ads_pb.js'
import { checkTools } from '../../sidecar/adapters/envoy/envoy-process.ts'
import {
  answering,
  broken,
  get,
  makeCa,
  makeWorkloadSvid,
  snapshotWith,
  startTestController,
  startTestSidecar,
  TestIdentity,
  WEB,
  WEB_NODE,
} from '../kit/mesh-parts.ts'
import { freePort, freePorts } from '../kit/ports.ts'
import { startProcess } from '../kit/process.ts'
import { tempDir } from '../kit/tempdir.ts'
import { toolPath } from '../kit/tools.ts'
import { waitFor } from '../kit/wait.ts'

async function start(t: Test) {
  const ca = await makeCa()
  const controller = await startTestController(t, ca)
  const identity = new TestIdentity()
  identity.set(await makeWorkloadSvid(ca))
  const dir = tempDir(t)
  const sidecar = await startTestSidecar(t, { dir, target: controller.target, identity })
  return { ca, controller, identity, dir, sidecar }
}

const answers = (port: number, text: string, agent?: Agent) =>
  waitFor(async () => (await get(port, agent)) === text, { what: `${text} from ${port}` })

t.test('what is published answers, and a change reaches the next request', async (t) => {
  const { controller, sidecar } = await start(t)
  const port = await freePort()
  const first = snapshotWith(answering(port, 'one'))
  controller.ads.publish(new Map([[WEB_NODE, first]]))
  await sidecar.supervisor.start()
  await answers(port, 'one')
  await waitFor(() => sidecar.proxy.progress().isAccepted)
  t.equal(sidecar.proxy.progress().generation, first.version, 'the generation is the snapshot’s')
  await waitFor(() => sidecar.supervisor.state().live && sidecar.supervisor.state().warming === 0)
  t.match(sidecar.supervisor.state(), { version: '1.40.0', workersStarted: true, restarts: 0 })

  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())
  await answers(port, 'one', agent)
  controller.ads.publish(new Map([[WEB_NODE, snapshotWith(answering(port, 'two'))]]))
  await answers(port, 'two', agent)

  controller.ads.publish(new Map([[WEB_NODE, snapshotWith()]]))
  await waitFor(
    () =>
      get(port).then(
        () => false,
        () => true,
      ),
    { what: 'the listener to go' },
  )
})

t.test('a refusal is told in Envoy’s words, and the old stays', async (t) => {
  const { controller, sidecar } = await start(t)
  const [a = 0, b = 0] = await freePorts(2)
  const good = snapshotWith(answering(a, 'a1'), answering(b, 'b1'))
  controller.ads.publish(new Map([[WEB_NODE, good]]))
  await sidecar.supervisor.start()
  await answers(a, 'a1')
  controller.ads.publish(new Map([[WEB_NODE, snapshotWith(broken(a), answering(b, 'b2'))]]))
  await answers(b, 'b2')
  const nack = await waitFor(() => controller.proxies.list()[0]?.nacks[0])
  t.match(nack.message, `inbound/${a}: `)
  t.match(nack.message, /address is necessary|filter chain/i)
  t.notMatch(nack.message, `inbound/${b}`, 'the good one is not blamed')
  t.equal(await get(a), 'a1')
  t.notOk(sidecar.proxy.progress().isAccepted)

  const isCached = async () =>
    [...(await sidecar.cache.read(WEB_NODE)).values()].some(
      (list) => list.get(`inbound/${a}`)?.version === answering(a, 'a1').version,
    )
  await waitFor(isCached, { what: 'the last good to be cached' })
  const fixed = snapshotWith(answering(a, 'a3'), answering(b, 'b2'))
  controller.ads.publish(new Map([[WEB_NODE, fixed]]))
  await answers(a, 'a3')
  await waitFor(() => controller.proxies.list()[0]?.nacks.length === 0)
  await waitFor(() => sidecar.proxy.progress().generation === fixed.version)
})

t.test(
  'Envoy killed: back within a second, with the last good in place of the refused',
  async (t) => {
    const { controller, sidecar } = await start(t)
    const port = await freePort()
    controller.ads.publish(new Map([[WEB_NODE, snapshotWith(answering(port, 'one'))]]))
    await sidecar.supervisor.start()
    await answers(port, 'one')
    controller.ads.publish(new Map([[WEB_NODE, snapshotWith(broken(port))]]))
    await waitFor(() => controller.proxies.list()[0]?.nacks.length === 1)
    await controller.stop()
    const killedMs = performance.now()
    process.kill(envoyPid(sidecar.paths.bootstrap), 'SIGKILL')
    await waitFor(() => sidecar.supervisor.state().restarts === 1)
    t.equal(sidecar.supervisor.state().logGaps, 1, 'what it had not sent is not known')
    await answers(port, 'one')
    t.ok(performance.now() - killedMs < 1500, `took ${Math.round(performance.now() - killedMs)} ms`)
  },
)

t.test('its socket removed: bound anew, and the next Envoy finds it', async (t) => {
  const { controller, sidecar } = await start(t)
  const port = await freePort()
  controller.ads.publish(new Map([[WEB_NODE, snapshotWith(answering(port, 'one'))]]))
  await sidecar.supervisor.start()
  await answers(port, 'one')
  rmSync(sidecar.paths.xdsSocket)
  await waitFor(() => existsSync(sidecar.paths.xdsSocket))
  await waitFor(() => (statSync(sidecar.paths.xdsSocket).mode & 0o777) === 0o600)
  controller.ads.publish(new Map([[WEB_NODE, snapshotWith(answering(port, 'two'))]]))
  await answers(port, 'two')
  process.kill(envoyPid(sidecar.paths.bootstrap), 'SIGKILL')
  await waitFor(() => sidecar.supervisor.state().restarts === 1)
  await answers(port, 'two')
})

t.test(
  'controller gone, sidecar and Envoy new: what was accepted is served from the cache',
  async (t) => {
    const { ca, controller, dir, sidecar } = await start(t)
    const port = await freePort()
    controller.ads.publish(new Map([[WEB_NODE, snapshotWith(answering(port, 'cached'))]]))
    await sidecar.supervisor.start()
    await answers(port, 'cached')
    await waitFor(() => sidecar.proxy.progress().isAccepted)
    await sidecar.stop()
    await controller.stop()
    t.equal(statSync(join(dir, 'xds-cache')).mode & 0o777, 0o600)
    t.notMatch(readFileSync(join(dir, 'xds-cache'), 'utf8'), /PRIVATE|default/)

    const identity = new TestIdentity()
    identity.set(await makeWorkloadSvid(ca))
    const again = await startTestSidecar(t, { dir, target: controller.target, identity })
    await again.supervisor.start()
    await answers(port, 'cached')

    const back = await startTestController(t, ca, { port: Number(controller.target.split(':')[1]) })
    back.ads.publish(new Map([[WEB_NODE, snapshotWith(answering(port, 'fresh'))]]))
    await answers(port, 'fresh')
  },
)

t.test('a damaged cache is moved aside, not served', async (t) => {
  const { dir, sidecar } = await start(t)
  writeFileSync(join(dir, 'xds-cache'), 'sha256:00\n{}')
  t.equal((await sidecar.cache.read(WEB_NODE)).size, 0)
  t.ok(statSync(join(dir, 'xds-cache.bad')).isFile())
})

t.test('a renewed SVID moves the stream to a new connection', async (t) => {
  const { ca, controller, identity, sidecar } = await start(t)
  const port = await freePort()
  controller.ads.publish(new Map([[WEB_NODE, snapshotWith(answering(port, 'one'))]]))
  await sidecar.supervisor.start()
  await answers(port, 'one')
  const renewed = await makeWorkloadSvid(ca)
  let wasAway = false
  controller.proxies.onChange(() => {
    wasAway ||= controller.proxies.list()[0]?.connected === false
  })
  const before = controller.sessions()
  identity.set(renewed)
  await waitFor(() => controller.sessions() > before)
  controller.ads.publish(new Map([[WEB_NODE, snapshotWith(answering(port, 'two'))]]))
  await answers(port, 'two')
  t.notOk(wasAway, 'the controller never saw it away')
})

t.test('another workload’s SVID gets nothing of this node', async (t) => {
  const ca = await makeCa()
  const controller = await startTestController(t, ca)
  const port = await freePort()
  controller.ads.publish(new Map([[WEB_NODE, snapshotWith(answering(port, 'secret'))]]))
  const identity = new TestIdentity()
  identity.set(await makeWorkloadSvid(ca, { serviceAccount: 'orders', workloadUid: 'uid-orders' }))
  const lines: string[] = []
  const { pino } = await import('pino')
  const log = pino({ level: 'warn' }, { write: (line: string) => lines.push(line) })
  const dir = tempDir(t)
  const sidecar = await startTestSidecar(t, { dir, target: controller.target, identity, log })
  await waitFor(() => lines.some((line) => line.includes('PERMISSION_DENIED')))
  t.equal(sidecar.proxy.progress().generation, snapshotWith().version, 'nothing was received')
})

t.test('a workload that poses as the controller is not believed', async (t) => {
  const ca = await makeCa()
  const as = { serviceAccount: 'web', workloadUid: 'uid-web' }
  const impostor = await startTestController(t, ca, { as })
  impostor.ads.publish(new Map([[WEB_NODE, snapshotWith(answering(await freePort(), 'x'))]]))
  const identity = new TestIdentity()
  identity.set(await makeWorkloadSvid(ca))
  const lines: string[] = []
  const { pino } = await import('pino')
  const log = pino({ level: 'warn' }, { write: (line: string) => lines.push(line) })
  const dir = tempDir(t)
  const sidecar = await startTestSidecar(t, { dir, target: impostor.target, identity, log })
  await waitFor(() => lines.some((line) => line.includes('ERR_CONTROLLER_UNTRUSTED')))
  t.notOk(sidecar.proxy.isConnected())
  t.same(impostor.proxies.list(), [])
})

t.test('Envoy’s socket is closed to others, and its stream to who lacks the secret', async (t) => {
  const { sidecar } = await start(t)
  t.equal(statSync(sidecar.paths.xdsSocket).mode & 0o777, 0o600)
  const client = new grpc.Client(
    `unix:${sidecar.paths.xdsSocket}`,
    grpc.credentials.createInsecure(),
  )
  t.teardown(() => client.close())
  const method = toServiceDefinition(AggregatedDiscoveryService).DeltaAggregatedResources
  for (const secret of [undefined, 'wrong']) {
    const metadata = new grpc.Metadata()
    if (secret !== undefined) metadata.set('x-postern-secret', secret)
    const call = client.makeBidiStreamRequest(
      method?.path ?? '',
      (x: Buffer) => x,
      (x: Buffer) => x,
      metadata,
    )
    const code = await new Promise((resolve) => {
      call.on('error', () => {})
      call.on('status', (status: grpc.StatusObject) => resolve(status.code))
    })
    t.equal(code, grpc.status.UNAUTHENTICATED)
  }
})

t.test(
  'drains: an open connection is told to leave, and Envoy ends within the bound',
  async (t) => {
    const { controller, sidecar } = await start(t)
    const port = await freePort()
    controller.ads.publish(new Map([[WEB_NODE, snapshotWith(answering(port, 'one'))]]))
    await sidecar.supervisor.start()
    await answers(port, 'one')
    await waitFor(() => sidecar.supervisor.state().live)
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    t.teardown(() => agent.destroy())
    await get(port, agent)
    const startedMs = performance.now()
    let isStopped = false
    const stopped = sidecar.stop(5_000).then(() => {
      isStopped = true
    })
    // Requests on the draining connection are still answered, and end it.
    while (!isStopped) await get(port, agent).catch(() => {})
    await stopped
    t.ok(performance.now() - startedMs < 5_000, 'does not wait for the bound')
    await t.rejects(get(port))
  },
)

t.test('an idle kept-alive connection holds no drain, a request under way does', async (t) => {
  const { controller, sidecar } = await start(t)
  const port = await freePort()
  controller.ads.publish(new Map([[WEB_NODE, snapshotWith(answering(port, 'one'))]]))
  await sidecar.supervisor.start()
  await answers(port, 'one')
  await waitFor(() => sidecar.supervisor.state().live && sidecar.supervisor.state().warming === 0)
  const idle = connect(port, '127.0.0.1').on('error', () => {})
  idle.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await once(idle, 'data')
  const busy = connect(port, '127.0.0.1').on('error', () => {})
  t.teardown(() => [idle, busy].map((socket) => socket.destroy()))
  busy.write('GET / HTTP/1.1\r\nHost: a\r\n')
  await waitFor(async () => (await sidecar.admin.facts())?.busy === 1)
  let isStopped = false
  const stopped = sidecar.stop(20_000).then(() => {
    isStopped = true
  })
  await delay(1_000)
  t.notOk(isStopped, 'a request is under way')
  await t.rejects(get(port), { code: 'ECONNREFUSED' }, 'nothing new is taken')
  const answer = once(busy, 'data')
  busy.write('\r\n')
  t.match(String((await answer)[0]), /one$/, 'it is answered')
  const answeredMs = performance.now()
  await stopped
  t.ok(performance.now() - answeredMs < 2_000, `${performance.now() - answeredMs} ms later it ends`)
})

t.test('a drain that is hurried ends at once', async (t) => {
  const { controller, sidecar } = await start(t)
  const port = await freePort()
  controller.ads.publish(new Map([[WEB_NODE, snapshotWith(answering(port, 'one'))]]))
  await sidecar.supervisor.start()
  await answers(port, 'one')
  await waitFor(() => sidecar.supervisor.state().live && sidecar.supervisor.state().warming === 0)
  const busy = connect(port, '127.0.0.1').on('error', () => {})
  t.teardown(() => busy.destroy())
  busy.write('GET / HTTP/1.1\r\nHost: a\r\n')
  await waitFor(async () => (await sidecar.admin.facts())?.busy === 1)
  const hurry = new AbortController()
  const closed = once(busy, 'close')
  const stopped = sidecar.supervisor.stop(600_000, hurry.signal)
  await waitFor(
    () =>
      get(port).then(
        () => false,
        () => true,
      ),
    { what: 'the drain' },
  )
  t.ok(sidecar.supervisor.state().isStopping)
  hurry.abort()
  await stopped
  await closed
})

t.test('a closed status answers no ping, while the other streams go on', async (t) => {
  const { controller, sidecar } = await start(t)
  controller.ads.publish(new Map([[WEB_NODE, snapshotWith()]]))
  const report = { nodeId: WEB_NODE, instanceId: 'one', enforcedGeneration: '' }
  sidecar.status.report(report)
  await waitFor(() => controller.status.isLive(WEB.uid, 'another'), { what: 'a live instance' })
  sidecar.status.close()
  await waitFor(async () => !(await controller.status.isLive(WEB.uid, 'another')))
  t.ok(sidecar.proxy.isConnected(), 'configuration still comes')
})

t.test('Envoy dies at once with its parent, however that ends', async (t) => {
  const { sidecar } = await start(t)
  const script = join(import.meta.dirname, '../kit/envoy-parent.ts')
  const parent = startProcess(t, process.execPath, [script, sidecar.paths.bootstrap])
  const [, pid] = await parent.waitForLine(/^envoy (\d+)$/)
  await parent.waitFor(() => isAlive(Number(pid)))
  parent.kill('SIGKILL')
  await waitFor(() => !isAlive(Number(pid)), { signal: AbortSignal.timeout(1_000) })
})

t.test('says what is missing when Envoy or setpriv is', async (t) => {
  const { PATH = '' } = process.env
  t.doesNotThrow(() => checkTools(toolPath('envoy'), PATH))
  t.throws(() => checkTools('/nowhere/envoy', PATH), {
    code: 'ERR_TOOL_MISSING',
    message: /make tools/,
  })
  t.throws(() => checkTools(toolPath('envoy'), tempDir(t)), {
    code: 'ERR_TOOL_MISSING',
    message: /util-linux/,
  })
})

t.test('a second sidecar does not take the sockets of the first', async (t) => {
  const { dir, controller, identity } = await start(t)
  await t.rejects(startTestSidecar(t, { dir, target: controller.target, identity }), {
    code: 'ERR_CONFIG',
  })
})

t.test('a port in use is refused with its name, and taken when it is free', async (t) => {
  const { controller, sidecar } = await start(t)
  const port = await freePort()
  const holder = createServer().listen(port, '127.0.0.1')
  await once(holder, 'listening')
  controller.ads.publish(new Map([[WEB_NODE, snapshotWith(answering(port, 'one'))]]))
  await sidecar.supervisor.start()
  const nack = await waitFor(() => controller.proxies.list()[0]?.nacks[0])
  t.match(nack.message, /cannot bind/)
  holder.close()
  await answers(port, 'one')
  await waitFor(() => controller.proxies.list()[0]?.nacks.length === 0)
})

t.test(
  'a port that is changed to one in use: the old one serves until the new one does',
  async (t) => {
    const { controller, sidecar, dir, identity } = await start(t)
    const [old = 0, wanted = 0] = await freePorts(2)
    controller.ads.publish(new Map([[WEB_NODE, snapshotWith(answering(old, 'old'))]]))
    await sidecar.supervisor.start()
    await answers(old, 'old')
    const holder = createServer().listen(wanted, '127.0.0.1')
    await once(holder, 'listening')
    controller.ads.publish(new Map([[WEB_NODE, snapshotWith(answering(wanted, 'new'))]]))
    const nack = await waitFor(() => controller.proxies.list()[0]?.nacks[0])
    t.match(nack.message, /cannot bind/)
    t.equal(await get(old), 'old', 'the refused one costs nothing')
    t.match(sidecar.proxy.progress(), { isAccepted: false, listeners: 'missing' })

    // Neither a new Envoy nor a new sidecar forgets what is kept.
    const { restarts } = sidecar.supervisor.state()
    process.kill(envoyPid(sidecar.paths.bootstrap), 'SIGKILL')
    await waitFor(() => sidecar.supervisor.state().restarts > restarts)
    await answers(old, 'old')
    await sidecar.stop()
    const next = await startTestSidecar(t, { dir, target: controller.target, identity })
    await next.supervisor.start()
    await answers(old, 'old')
    await waitFor(() => next.proxy.progress().listeners === 'missing')
    t.equal(await get(old), 'old')

    holder.close()
    await answers(wanted, 'new')
    await waitFor(() => next.proxy.progress().isAccepted)
    await waitFor(
      () =>
        get(old).then(
          () => false,
          () => true,
        ),
      { what: 'the old one to go' },
    )
    t.match(next.proxy.progress(), { listeners: 'there', refusals: [] })
  },
)

function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

/** The one Envoy that runs with this bootstrap. */
function envoyPid(bootstrap: string): number {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      if (readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(bootstrap)) return Number(pid)
    } catch {
      // it ended meanwhile
    }
  }
  throw new Error('no such envoy')
}

t.test('an Envoy that has too little memory refuses requests, and lives', async (t) => {
  const ca = await makeCa()
  const controller = await startTestController(t, ca)
  const identity = new TestIdentity()
  identity.set(await makeWorkloadSvid(ca))
  const port = await freePort()
  controller.ads.publish(new Map([[WEB_NODE, snapshotWith(answering(port, 'one'))]]))
  const dir = tempDir(t)
  const { target } = controller
  const sidecar = await startTestSidecar(t, { dir, target, identity, maxHeapBytes: 1 })
  await sidecar.supervisor.start()
  await waitFor(async () => (await status(port)) === 503, { what: 'requests to be refused' })
  t.match(sidecar.supervisor.state(), { workersStarted: true, restarts: 0 })
})

function status(port: number): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, agent: false }, (response) => {
      response.resume()
      resolve(response.statusCode)
    })
    asked.on('error', reject).end()
  })
}
