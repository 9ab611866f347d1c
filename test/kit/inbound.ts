/**
 * A workload's Envoy by itself, fed by delta ADS: for tests of what an inbound port does with a connection.
 * In: the port, policies, modes. Out: the running proxy, and a way to change the mesh under it.
 */
import { connect, type Socket } from 'node:net'
import { type ConnectionOptions, connect as tlsConnect } from 'node:tls'
import type { Test } from 'tap'
import type {
  AuthorizationPolicySpec,
  MeshMtls,
  PeerAuthenticationSpec,
  WorkloadEntryInbound,
} from '../../controller/core/crd/index.ts'
import { translate } from '../../controller/core/translate/index.ts'
import { buildSnapshot } from '../../controller/core/xds/snapshot.ts'
import { startEnvoy, type TestEnvoy, type TestSvid } from './envoy.ts'
import { makeCa, makeSvid, toPem } from './identity.ts'
import {
  makeInput,
  makeMesh,
  makePeerAuthentication,
  makePolicy,
  makeWorkloadEntry,
} from './objects.ts'

const DAY_MS = 86_400_000

export interface InboundMesh {
  readonly inbound: readonly (Partial<WorkloadEntryInbound> &
    Pick<WorkloadEntryInbound, 'port' | 'appPort'>)[]
  readonly policies?: readonly Partial<AuthorizationPolicySpec>[]
  readonly mtls?: Partial<MeshMtls>
  readonly peer?: PeerAuthenticationSpec
  readonly svidLifetimeSeconds?: number
}

export const nowMs = Date.now()
export const ca = await makeCa({ nowMs: nowMs - DAY_MS })

export function svidOf(serviceAccount: string): Promise<TestSvid> {
  return makeSvid(ca, { serviceAccount, nowMs })
}

/** What the workload `shop/orders` is given. Throws when the objects have a problem. */
export function snapshotOf(mesh: InboundMesh) {
  return snapshotsOf(mesh, [])('orders')
}

/** What a caller of its ports `http` and `tcp` is given, at these local ports. */
export function callerSnapshotOf(mesh: InboundMesh, to: { toHttp: number; toTcp: number }) {
  const outbound = [
    { port: to.toHttp, service: 'orders', servicePort: 'http' },
    { port: to.toTcp, service: 'orders', servicePort: 'tcp' },
  ]
  return snapshotsOf(mesh, outbound)('web')
}

function snapshotsOf(
  mesh: InboundMesh,
  outbound: readonly { port: number; service: string; servicePort: string }[],
) {
  const { inbound, policies = [], mtls = {}, peer, svidLifetimeSeconds = 86_400 } = mesh
  const { model, problems } = translate(
    makeInput({
      mesh: makeMesh({
        mtls: { mode: 'STRICT', minTLSVersion: 'TLSv1_3', ...mtls },
        svid: { lifetimeSeconds: svidLifetimeSeconds },
      }),
      workloadEntries: [
        makeWorkloadEntry('orders', { inbound }, { labels: { app: 'orders' } }),
        makeWorkloadEntry('web', outbound.length === 0 ? {} : { outbound }),
      ],
      peerAuthentications: peer === undefined ? [] : [makePeerAuthentication('orders', peer)],
      policies: policies.map((spec, i) => ({
        object: makePolicy(`p${i}`, {
          targetRefs: [{ group: '', kind: 'Service', name: 'orders' }],
          ...spec,
        }),
      })),
    }),
  )
  return (name: string) => {
    const workload = model?.workloads.get(`shop/${name}`)
    if (model === undefined || workload === undefined || problems.length > 0) {
      throw new Error(JSON.stringify(problems))
    }
    return buildSnapshot(workload, model.mesh, { trustBundle: [ca.root.der] })
  }
}

export async function startInbound(t: Test, mesh: InboundMesh): Promise<TestEnvoy> {
  return startEnvoy(t, await svidOf('orders'), snapshotOf(mesh))
}

/** TLS as a process that holds `svid` could make it; the server isn't checked. */
export function openMeshTls(
  port: number,
  svid: TestSvid | undefined,
  more: ConnectionOptions & { readonly localAddress?: string } = {},
): ReturnType<typeof tlsConnect> {
  const own =
    svid === undefined
      ? {}
      : {
          cert: toPem(svid.der),
          key: svid.key.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
        }
  return tlsConnect({ host: '127.0.0.1', port, rejectUnauthorized: false, ...own, ...more })
}

export function openPlain(port: number, localAddress = '127.0.0.1'): Socket {
  return connect({ port, host: '127.0.0.1', localAddress })
}
