/**
 * What a stuck proxy costs: one that does not read, and one that reads and never answers, while the configuration
 * changes over and over (COUNT times). Measured is what the servers hold, by their own count and by the process's memory.
 */
import type { ClientHttp2Stream } from 'node:http2'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import t, { type Test } from 'tap'
import { TYPE_URLS } from '../../../common/xds.ts'
import { frame } from '../../../drills/fuzz-messages.ts'
import { FrameReader } from '../../../drills/fuzz-peer.ts'
import {
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from '../../../proto/gen/envoy/service/discovery/v3/discovery_pb.js'
import { WEB_NODE } from '../../kit/mesh-parts.ts'
import { waitFor } from '../../kit/wait.ts'
import { ADS, type ShortType, urlOf } from '../../kit/xds-stream.ts'
import {
  type Plain,
  startControllerTarget,
  startSidecarTarget,
  type Target,
} from '../../kit/xds-targets.ts'

const MIB = 1024 * 1024
/** Four HTTP/2 windows. */
const SIZE = MIB / 4
const TYPES = Object.keys(TYPE_URLS) as ShortType[]
const GENERATIONS = Number(process.env.COUNT ?? 60)
const STARTS = { controller: startControllerTarget, sidecar: startSidecarTarget }

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** A quarter of a MiB for each type, other bytes in each generation. */
function generationOf(n: number): Plain {
  const text = `${n} `.padEnd(SIZE, 'x')
  return Object.fromEntries(TYPES.map((type) => [type, { big: text }])) as Plain
}

async function memory(): Promise<number> {
  // Twice, with a turn between: buffers are freed after their finalizers ran.
  for (let i = 0; i < 3; i++) {
    collect()
    await new Promise((resolve) => setImmediate(resolve))
  }
  const { arrayBuffers, heapUsed } = process.memoryUsage()
  return arrayBuffers + heapUsed
}

/** A stream by hand: nothing is read from it until it is told to. */
class Bare {
  readonly stream: ClientHttp2Stream
  readonly responses: DeltaDiscoveryResponse[] = []

  constructor(stream: ClientHttp2Stream) {
    this.stream = stream
  }

  static async open(target: Target): Promise<Bare> {
    const { session, headers } = await target.raw()
    const stream = session.request({
      ':method': 'POST',
      ':path': `/${ADS}`,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...headers,
    })
    return new Bare(stream.on('error', () => {}))
  }

  ask(type: string, fields: { subscribe?: string[]; nonce?: string } = {}): void {
    const message = create(DeltaDiscoveryRequestSchema, {
      node: { id: WEB_NODE },
      typeUrl: urlOf(type),
      resourceNamesSubscribe: fields.subscribe ?? [],
      responseNonce: fields.nonce ?? '',
    })
    this.stream.write(frame(toBinary(DeltaDiscoveryRequestSchema, message)))
  }

  read(): void {
    const reader = new FrameReader((message) =>
      this.responses.push(fromBinary(DeltaDiscoveryResponseSchema, message)),
    )
    this.stream.on('data', (chunk: Buffer) => reader.push(chunk))
  }
}

async function changeOften(t: Test, target: Target, held: () => number): Promise<void> {
  const before = { held: held(), memory: await memory() }
  for (let n = 1; n <= GENERATIONS; n++) {
    target.publish(generationOf(n))
    if (n % 10 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  const grown = (await memory()) - before.memory
  t.equal(held(), before.held, 'nothing more is on its way')
  // What it has of the first generation, the newest one, and what this test itself holds.
  t.ok(grown < 4 * TYPES.length * SIZE + MIB, `grown by ${(grown / MIB).toFixed(1)} MiB`)
  t.comment(
    `${target.name}: ${(held() / MIB).toFixed(1)} MiB on its way, memory grown by ${(grown / MIB).toFixed(1)} MiB over ${GENERATIONS} × ${(TYPES.length * SIZE) / MIB} MiB`,
  )
}

for (const start of Object.values(STARTS)) {
  t.test('a proxy that does not read', async (t) => {
    const target = await start(t)
    target.publish(generationOf(0))
    const bare = await Bare.open(target)
    for (const type of TYPES) bare.ask(type, { subscribe: ['*'] })
    await waitFor(() => target.buffered() > 0, { what: 'something to be on its way' })
    await changeOften(t, target, () => target.buffered())
    t.ok(target.buffered() <= TYPES.length * (SIZE + 1024), 'one response of a type at most')

    bare.read()
    const newest = `${GENERATIONS} `
    const isCurrent = () => {
      for (const response of bare.responses.splice(0)) {
        texts.push(
          Buffer.from(response.resources[0]?.resource?.value ?? [])
            .subarray(0, 4)
            .toString(),
        )
        bare.ask(response.typeUrl, { nonce: response.nonce })
      }
      return texts.filter((text) => text.startsWith(newest)).length === TYPES.length
    }
    const texts: string[] = []
    await waitFor(isCurrent, { what: 'the newest of each type' })
    t.ok(texts.length <= 2 * TYPES.length, 'what came between is never sent')
  })

  t.test('a proxy that reads and never answers', async (t) => {
    const target = await start(t)
    target.publish(generationOf(0))
    const bare = await Bare.open(target)
    bare.read()
    for (const type of TYPES) bare.ask(type, { subscribe: ['*'] })
    await waitFor(() => bare.responses.length === TYPES.length)
    await waitFor(() => target.buffered() === 0)
    await changeOften(t, target, () => target.buffered())
    bare.ask('barrier', { subscribe: ['done'] })
    await waitFor(() => bare.responses.some(({ typeUrl }) => typeUrl === 'barrier'))
    t.equal(bare.responses.length, TYPES.length + 1, 'one response of each type')
  })
}
