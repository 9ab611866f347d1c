/**
 * Drill: a process with another workload's valid SVID asks for what isn't its own, and poses as the controller
 * (issue 4, Shows 8). It gets no configuration, no bundle, and no sidecar tells it a token.
 */
import https from 'node:https'
import tls from 'node:tls'
import { create } from '@bufbuild/protobuf'
import * as grpc from '@grpc/grpc-js'
import { toServiceDefinition } from '../common/grpc-service.ts'
import { TYPE_URLS } from '../common/xds.ts'
import type { TlsIdentity } from '../demo/client.ts'
import type { Stack } from '../demo/stack.ts'
import { fetchSvid, toTlsIdentity } from '../demo/tester.ts'
import { AggregatedDiscoveryService } from '../proto/gen/envoy/service/discovery/v3/ads_pb.js'
import { DeltaDiscoveryRequestSchema } from '../proto/gen/envoy/service/discovery/v3/discovery_pb.js'
import { controllerCredentials } from '../sidecar/adapters/grpc/controller-client.ts'
import type { Svid } from '../sidecar/ports.ts'
import { type Claim, claim, type DrillReport } from './report.ts'

const TIMEOUT_MS = 5000
const VICTIM = 'shop/orders'

interface ApiObject {
  readonly metadata: { readonly uid?: string }
}

/** What the controller answers to an xDS subscription: how the stream ended, or how many resources came. */
function subscribe(svid: Svid, port: number, nodeId: string): Promise<string> {
  const Client = grpc.makeClientConstructor(toServiceDefinition(AggregatedDiscoveryService), 'ads')
  const client = new Client(
    `127.0.0.1:${port}`,
    controllerCredentials(svid, () => {}),
    {
      'grpc.ssl_target_name_override': 'postern-controller',
    },
  )
  const deadline = Date.now() + TIMEOUT_MS
  const open = client.DeltaAggregatedResources as unknown as (
    options: grpc.CallOptions,
  ) => grpc.ClientDuplexStream<unknown, { resources: unknown[] }>
  return new Promise((resolve) => {
    const stream = open.call(client, { deadline })
    const finish = (text: string) => {
      stream.cancel()
      client.close()
      resolve(text)
    }
    stream.on('data', (response) => finish(`${response.resources.length} resources`))
    stream.on('error', (error: grpc.ServiceError) => finish(grpc.status[error.code]))
    stream.write(
      create(DeltaDiscoveryRequestSchema, {
        node: { id: nodeId },
        typeUrl: TYPE_URLS.secret,
        resourceNamesSubscribe: ['*'],
      }),
    )
  })
}

function fetchBundle(identity: TlsIdentity, port: number, workload: string): Promise<number> {
  return new Promise((resolve, reject) => {
    // Who the server is doesn't matter to this caller: it only wants what isn't its own.
    const options = {
      host: '127.0.0.1',
      port,
      path: `/bundles/${workload}`,
      rejectUnauthorized: false,
      agent: false,
      ALPNProtocols: ['http/1.1'],
      ...identity,
    }
    const request = https.get({ ...options, timeout: TIMEOUT_MS }, (response) => {
      response.resume()
      resolve(response.statusCode ?? 0)
    })
    request.on('timeout', () => request.destroy(new Error('no answer')))
    request.on('error', reject)
  })
}

/** A server with the stranger's SVID at which a sidecar is pointed; resolves with what it was told. */
async function poseAsController(
  stack: Stack,
  identity: TlsIdentity,
): Promise<{ told: number; refusal: string }> {
  let told = 0
  const server = tls.createServer({
    ...identity,
    ALPNProtocols: ['h2'],
    requestCert: true,
    rejectUnauthorized: false,
  })
  server.on('secureConnection', (socket) => {
    socket.on('data', (bytes: Buffer) => (told += bytes.includes('postern-join') ? 1 : 0))
    socket.on('error', () => socket.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  try {
    const refusal = await fetchSvid(stack, 'shop/tester', port).then(
      () => 'accepted',
      (error: { code?: string }) => error.code ?? String(error),
    )
    return { told, refusal }
  } finally {
    server.close()
  }
}

async function uidOf(stack: Stack, workload: string): Promise<string> {
  const [namespace = '', name = ''] = workload.split('/')
  const text = await stack.postern('get', 'workloadentry', name, '-n', namespace, '-o', 'json')
  return (JSON.parse(text) as ApiObject).metadata.uid ?? ''
}

/** The stranger is shop/tester: a workload of the same mesh and namespace, with a valid SVID. */
export async function drillStranger(stack: Stack): Promise<DrillReport> {
  const svid = await fetchSvid(stack, 'shop/tester')
  const identity = toTlsIdentity(svid)
  const { namespace, name, uid } = svid.workload
  const port = stack.controllerPort
  const victimUid = await uidOf(stack, VICTIM)
  const own = await subscribe(svid, port, `${namespace}/${name}/${uid}`)
  const others = await subscribe(svid, port, `${VICTIM}/${victimUid}`)
  const mixed = await subscribe(svid, port, `${VICTIM}/${uid}`)
  const ownBundle = await fetchBundle(identity, port, `${namespace}/${name}`)
  const othersBundle = await fetchBundle(identity, port, VICTIM)
  const noBundle = await fetchBundle({}, port, VICTIM).catch(() => 0)
  const posing = await poseAsController(stack, identity)
  const claims: Claim[] = [
    claim('a workload gets its own configuration', own === '1 resources', own),
    claim(
      "another workload's configuration is refused, with its UID",
      others === 'PERMISSION_DENIED',
      others,
    ),
    claim('and with the own UID under another name', mixed === 'PERMISSION_DENIED', mixed),
    claim('a workload gets its own bundle', ownBundle === 200, ownBundle),
    claim("another workload's bundle is refused", othersBundle === 403, othersBundle),
    claim('no certificate, no bundle', noBundle !== 200, noBundle),
    claim(
      'a workload that poses as the controller is refused',
      posing.refusal === 'ERR_CONTROLLER_UNTRUSTED',
      posing.refusal,
    ),
    claim('and is told no join token', posing.told === 0, `${posing.told} tokens`),
  ]
  return { name: "a valid identity asks for what isn't its own", claims }
}
