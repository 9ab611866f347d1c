/**
 * Policy bundles by gRPC, so that a sidecar needs no second connection: 90 KiB each in the controller (docs/performance.md).
 * In: calls whose peer the connection proves. Out: what the bundle desk replies.
 * Source: proto/postern/bundle/v1alpha1/bundle.proto.
 */
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { timestampFromMs } from '@bufbuild/protobuf/wkt'
import * as grpc from '@grpc/grpc-js'
import type { Clock } from '../../../common/clock.ts'
import { FEATURES, parseFeatures } from '../../../common/features.ts'
import { toServiceDefinition } from '../../../common/grpc-service.ts'
import {
  type GetBundleRequest,
  type GetBundleResponse,
  GetBundleResponseSchema,
  PolicyBundles,
} from '../../../proto/gen/postern/bundle/v1alpha1/bundle_pb.js'
import type {
  BundleDesk,
  BundlePeer,
  BundleReply,
  BundleResult,
} from '../../runtime/bundle-desk.ts'
import type { Log } from '../../runtime/ports.ts'
import type { PeerCall } from './mesh-server.ts'

export interface BundleServiceOptions {
  readonly peerOf: (call: PeerCall) => BundlePeer | undefined
  readonly desk: BundleDesk
  /** What is counted. */
  readonly meter?: { answeredBundle(result: BundleResult): void }
  readonly clock: Clock
  readonly log: Log
}

type Call = grpc.ServerUnaryCall<GetBundleRequest, GetBundleResponse>
type Reply = grpc.sendUnaryData<GetBundleResponse>

const { UNAUTHENTICATED, PERMISSION_DENIED, UNAVAILABLE, FAILED_PRECONDITION, INTERNAL } =
  grpc.status

export function createBundleService(options: BundleServiceOptions): {
  readonly service: grpc.ServiceDefinition
  readonly implementation: grpc.UntypedServiceImplementation
} {
  return {
    service: toServiceDefinition(PolicyBundles),
    implementation: { Get: (call: Call, reply: Reply) => get(options, call, reply) },
  }
}

function get(options: BundleServiceOptions, call: Call, reply: Reply): void {
  const { peerOf, desk, meter } = options
  const peer = peerOf(call)
  const end = ({ result, ...ended }: Ended) => {
    meter?.answeredBundle(result)
    if ('code' in ended) reply(ended)
    else reply(null, ended.message)
  }
  if (peer === undefined) {
    end(refused(UNAUTHENTICATED, 'a client certificate of this mesh is required'))
    return
  }
  const { workload, revision, features, waitSeconds } = call.request
  const has = (served: string) => served === revision
  const hasSome = revision !== ''
  const question = { peer, workload, hasSome, has, features: parseFeatures(features), waitSeconds }
  const gone = desk.ask(question, (found) => {
    void answer(options, { peer, revision, found }).then(end)
  })
  call.on('cancelled', gone)
}

/** How a call ends, and how that is counted. */
type Ended = { readonly result: BundleResult } & (
  | { readonly message: GetBundleResponse }
  | { readonly code: grpc.status; readonly details: string }
)

interface Asked {
  readonly peer: BundlePeer
  /** Empty: the peer has none. */
  readonly revision: string
  readonly found: BundleReply
}

/** Never rejects. */
async function answer(
  { clock, log }: BundleServiceOptions,
  { peer, revision, found }: Asked,
): Promise<Ended> {
  const say = (
    result: BundleResult,
    fields: MessageInitShape<typeof GetBundleResponseSchema>,
  ): Ended => {
    const time = timestampFromMs(clock.now())
    const message = create(GetBundleResponseSchema, { ...fields, features: [...FEATURES], time })
    return { result, message }
  }
  switch (found.kind) {
    case 'notReady':
      return refused(UNAVAILABLE, 'no bundles yet; try again', 'unavailable')
    case 'forbidden':
      log.warn({ code: 'ERR_PEER_FORBIDDEN', ...peer }, 'bundle refused: not the peer’s own')
      return refused(PERMISSION_DENIED, 'this bundle is not the one of your certificate')
    case 'unchanged':
      return say('unchanged', { revision: found.revision })
    case 'withheld': {
      const details = `the sidecar lacks ${found.lacks.join(', ')}`
      if (revision === '') return refused(FAILED_PRECONDITION, details, 'withheld')
      return say('withheld', { revision, withheld: [...found.lacks] })
    }
    case 'bundle': {
      const { bundle } = found
      try {
        return say('sent', { revision: bundle.revision, archive: await bundle.pack() })
      } catch (err) {
        log.error({ err, workload: bundle.workload }, 'bundle was not packed')
        return refused(INTERNAL, 'the bundle could not be packed')
      }
    }
  }
}

function refused(code: grpc.status, details: string, result: BundleResult = 'refused'): Ended {
  return { result, code, details }
}
