/** Addresses behind a cluster, as EDS resource and as a fixed cluster's own list. */
import { create } from '@bufbuild/protobuf'
import {
  type ClusterLoadAssignment,
  ClusterLoadAssignmentSchema,
} from '../../../proto/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import type { Endpoint } from '../model/mesh.ts'
import { socketAddress } from './encode.ts'

export function buildAssignment(
  clusterName: string,
  endpoints: readonly Endpoint[],
): ClusterLoadAssignment {
  return create(ClusterLoadAssignmentSchema, {
    clusterName,
    endpoints: [
      {
        lbEndpoints: endpoints.map(({ address, port }) => ({
          hostIdentifier: {
            case: 'endpoint' as const,
            value: { address: socketAddress(address, port) },
          },
        })),
      },
    ],
  })
}
