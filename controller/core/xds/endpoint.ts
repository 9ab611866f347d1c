/**
 * Addresses behind a cluster, as EDS resource and as a fixed cluster's own list. An endpoint that takes plaintext only
 * says so by metadata, which the cluster's `transportSocketMatches` read; whoever says nothing is called by mutual TLS.
 */
import { create } from '@bufbuild/protobuf'
import {
  type ClusterLoadAssignment,
  ClusterLoadAssignmentSchema,
} from '../../../proto/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import type { Endpoint } from '../model/mesh.ts'
import { socketAddress } from './encode.ts'

/** What a plaintext endpoint's metadata must hold. */
export const PLAINTEXT_MATCH = { plaintext: true }

const PLAINTEXT_METADATA = { filterMetadata: { 'envoy.transport_socket_match': PLAINTEXT_MATCH } }

export function buildAssignment(
  clusterName: string,
  endpoints: readonly (Pick<Endpoint, 'address' | 'port'> & Partial<Endpoint>)[],
): ClusterLoadAssignment {
  const ready = endpoints.filter(({ isReady }) => isReady !== false)
  return create(ClusterLoadAssignmentSchema, {
    clusterName,
    endpoints: [
      {
        lbEndpoints: ready.map(({ address, port, mtls }) => ({
          hostIdentifier: {
            case: 'endpoint' as const,
            value: { address: socketAddress(address, port) },
          },
          ...(mtls === 'DISABLE' ? { metadata: PLAINTEXT_METADATA } : {}),
        })),
      },
    ],
  })
}
