/**
 * After a new join the identity may be another workload's: what served the first one ends, with its Envoy and what was
 * stored for it. And the decision log's `labels.id` is not the instance's id, which only the controller may know.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fromJson } from '@bufbuild/protobuf'
import { credentials, makeClientConstructor } from '@grpc/grpc-js'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { toServiceDefinition } from '../../common/grpc-service.ts'
import {
  Authorization,
  CheckRequestSchema,
} from '../../proto/gen/envoy/service/auth/v3/external_auth_pb.js'
import { parseConfig } from '../../sidecar/config.ts'
import { runPaths } from '../../sidecar/core/envoy/bootstrap.ts'
import { type Shown, serve } from '../../sidecar/serve.ts'
import { makeAttributes } from '../kit/check.ts'
import {
  answering,
  clock,
  get,
  makeCa,
  makeWorkloadSvid,
  snapshotWith,
  startTestController,
  TestIdentity,
  WEB_NODE,
} from '../kit/mesh-parts.ts'
import { freePort } from '../kit/ports.ts'
import { tempDir } from '../kit/tempdir.ts'
import { toolPath } from '../kit/tools.ts'
import { waitFor } from '../kit/wait.ts'

const INSTANCE_ID = '0123456789abcdef0123456789abcdef'

class Identity extends TestIdentity {
  problem() {
    return undefined
  }
  async updateTrustBundle() {}
  async stop() {}
}

async function start(t: Test) {
  const ca = await makeCa()
  const controller = await startTestController(t, ca)
  const dir = tempDir(t)
  const log = join(dir, 'decisions.jsonl')
  const args = { controller: controller.target, state: dir, 'decision-log': log, 'run-dir': dir }
  const words = Object.entries({ ...args, envoy: toolPath('envoy') }).map(([k, v]) => `--${k}=${v}`)
  const parsed = parseConfig(words, {}, { cwd: '/', packageRoot: '/' })
  if (parsed.kind !== 'config') throw new Error('no config')
  const identity = new Identity()
  const svid = await makeWorkloadSvid(ca)
  identity.set(svid)
  const stopping = new AbortController()
  let shown: Shown | undefined
  const ended = serve(
    {
      ...{ config: parsed.config, paths: runPaths(dir), identity, svid, clock },
      runDir: { problem: () => undefined },
      ...{
        hurry: new AbortController().signal,
        instanceId: INSTANCE_ID,
        version: '0',
        log: pino({ level: 'silent' }),
      },
      onStarted: (now) => {
        shown = now
      },
    },
    stopping.signal,
  )
  t.teardown(async () => {
    stopping.abort()
    await ended
  })
  return { ca, controller, dir, log, identity, svid, stopping, ended, shown: () => shown }
}

t.test('another workload: Envoy ends, and what was stored goes', async (t) => {
  const { ca, controller, dir, identity, ended, shown } = await start(t)
  const port = await freePort()
  controller.ads.publish(new Map([[WEB_NODE, snapshotWith(answering(port, 'one'))]]))
  await waitFor(async () => (await get(port)) === 'one')
  await waitFor(() => shown()?.readings().isConnected)
  writeFileSync(join(dir, 'policy-bundle.tar.gz'), 'of the first')
  const renewed = await makeWorkloadSvid(ca)
  identity.set(renewed)
  t.equal(await get(port), 'one', 'a renewal changes nothing')
  const next = { ...renewed, workload: { ...renewed.workload, uid: 'uid-new' } }
  identity.set(next)
  t.equal(await ended, next, 'which one is to be served is told')
  await t.rejects(get(port))
  t.notOk(existsSync(join(dir, 'policy-bundle.tar.gz')))
})

t.test('records do not name the instance; an idle one stops at once', async (t) => {
  const { dir, log, stopping, ended, shown } = await start(t)
  await waitFor(() => shown() !== undefined)
  const Client = makeClientConstructor(toServiceDefinition(Authorization), 'Authorization')
  const client = new Client(`unix:${join(dir, 'authz.sock')}`, credentials.createInsecure())
  const request = fromJson(CheckRequestSchema, { attributes: makeAttributes({}) })
  await new Promise((resolve) => client.Check?.call(client, request, resolve))
  client.close()
  const record = JSON.parse(readFileSync(log, 'utf8')) as { labels: { id: string } }
  t.match(record.labels.id, /^[0-9a-f-]{36}$/)
  t.notMatch(readFileSync(log, 'utf8'), INSTANCE_ID)
  const startedMs = performance.now()
  stopping.abort()
  t.equal(await ended, undefined)
  t.ok(
    performance.now() - startedMs < 2_000,
    `took ${Math.round(performance.now() - startedMs)} ms`,
  )
})
