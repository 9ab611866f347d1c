/**
 * mTLS on both ends of a mesh connection. Certificates and roots come by SDS, so renewal touches no listener.
 * Inbound: a client certificate of this trust domain is required. Outbound: the server's SPIFFE id is pinned.
 * Sessions are never resumed: a resumed session would outlive the certificate and root that it was checked against.
 */
import { create } from '@bufbuild/protobuf'
import { SECRET_SVID, SECRET_TRUST_BUNDLE } from '../../../common/xds.ts'
import {
  type TransportSocket,
  TransportSocketSchema,
} from '../../../proto/gen/envoy/config/core/v3/base_pb.js'
import { RawBufferSchema } from '../../../proto/gen/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.js'
import {
  SubjectAltNameMatcher_SanType,
  TlsParameters_TlsProtocol,
} from '../../../proto/gen/envoy/extensions/transport_sockets/tls/v3/common_pb.js'
import {
  type CommonTlsContext,
  CommonTlsContextSchema,
  DownstreamTlsContextSchema,
  UpstreamTlsContextSchema,
} from '../../../proto/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import type { Destination, InboundPort, MeshSettings } from '../model/mesh.ts'
import { fromSds, pack } from './encode.ts'
import { PLAINTEXT_MATCH } from './endpoint.ts'
import { MESH_ALPN } from './names.ts'

/** What no certificate's URI SAN is: it isn't even a SPIFFE id. Pinned where no server is trusted. */
const NOBODY = 'postern:no-server'

type SanMatch = { readonly case: 'exact' | 'prefix'; readonly value: string }

/** TLS towards callers. HTTP ports offer h2 and http/1.1; TCP ports offer nothing. */
export function buildDownstreamTls(port: InboundPort, mesh: MeshSettings): TransportSocket {
  const sans: SanMatch[] = [{ case: 'prefix', value: `spiffe://${mesh.trustDomain}/` }]
  const alpn = port.protocol === 'TCP' ? [] : ['h2', 'http/1.1']
  return create(TransportSocketSchema, {
    name: 'envoy.transport_sockets.tls',
    configType: {
      case: 'typedConfig',
      value: pack(DownstreamTlsContextSchema, {
        commonTlsContext: buildCommon(mesh, sans, alpn),
        requireClientCertificate: true,
        sessionTicketKeysType: { case: 'disableStatelessSessionResumption', value: true },
        disableStatefulSessionResumption: true,
      }),
    },
  })
}

/**
 * TLS towards a destination (secure naming). SNI is `<service>.<namespace>.postern`, a label for logs: who the server
 * is, its pinned SPIFFE id says. The ALPN token says "mesh" to a PERMISSIVE server; HTTP/2 is known by its preface.
 */
export function buildUpstreamTls(port: Destination, mesh: MeshSettings): TransportSocket {
  const { service, namespace } = port.destination
  const ids = port.serverIds.length > 0 ? port.serverIds : [NOBODY]
  const sans = ids.map((value): SanMatch => ({ case: 'exact', value }))
  return create(TransportSocketSchema, {
    name: 'envoy.transport_sockets.tls',
    configType: {
      case: 'typedConfig',
      value: pack(UpstreamTlsContextSchema, {
        commonTlsContext: buildCommon(mesh, sans, [MESH_ALPN]),
        sni: `${service}.${namespace}.postern`,
        maxSessionKeys: 0,
      }),
    },
  })
}

function buildCommon(
  mesh: MeshSettings,
  sans: readonly SanMatch[],
  alpnProtocols: string[],
): CommonTlsContext {
  return create(CommonTlsContextSchema, {
    // The maximum is said too: as a client, Envoy would stop at TLS 1.2.
    tlsParams: {
      tlsMinimumProtocolVersion: TlsParameters_TlsProtocol[mesh.tlsMinVersion],
      tlsMaximumProtocolVersion: TlsParameters_TlsProtocol.TLSv1_3,
    },
    alpnProtocols,
    tlsCertificateSdsSecretConfigs: [fromSds(SECRET_SVID)],
    validationContextType: {
      case: 'combinedValidationContext',
      value: {
        defaultValidationContext: {
          matchTypedSubjectAltNames: sans.map((matchPattern) => ({
            sanType: SubjectAltNameMatcher_SanType.URI,
            matcher: { matchPattern },
          })),
        },
        validationContextSdsSecretConfig: fromSds(SECRET_TRUST_BUNDLE),
      },
    },
  })
}

/** For endpoints whose mode is DISABLE, by their metadata: no TLS, so nobody is checked and nobody is named. */
export function buildPlaintextMatches() {
  const transportSocket = create(TransportSocketSchema, {
    name: 'envoy.transport_sockets.raw_buffer',
    configType: { case: 'typedConfig', value: pack(RawBufferSchema, {}) },
  })
  return [{ name: 'plaintext', match: PLAINTEXT_MATCH, transportSocket }]
}
