/**
 * What is taken off an inbound request before anything reads it, and the decision id that is put on.
 * `x-envoy-*` steers the router (retries, timeouts, a failed authorization that let pass), `x-postern-*` is ours:
 * neither is a client's to say.
 */
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { ComparisonFilter_Op } from '../../../proto/gen/envoy/config/accesslog/v3/accesslog_pb.js'
import { HeaderValueOption_HeaderAppendAction } from '../../../proto/gen/envoy/config/core/v3/base_pb.js'
import {
  type TypedExtensionConfig,
  TypedExtensionConfigSchema,
} from '../../../proto/gen/envoy/config/core/v3/extension_pb.js'
import { HeaderMutationSchema as HeaderMutationFilterSchema } from '../../../proto/gen/envoy/extensions/filters/http/header_mutation/v3/header_mutation_pb.js'
import {
  type HttpFilter,
  HttpFilterSchema,
  type LocalReplyConfig,
  LocalReplyConfigSchema,
} from '../../../proto/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { HeaderMutationSchema } from '../../../proto/gen/envoy/extensions/http/early_header_mutation/header_mutation/v3/header_mutation_pb.js'
import { CustomHeaderConfigSchema } from '../../../proto/gen/envoy/extensions/http/original_ip_detection/custom_header/v3/custom_header_pb.js'
import type { InboundPort } from '../model/mesh.ts'
import { DECISION_ID_HEADER } from './access-log.ts'
import { pack } from './encode.ts'

const RESERVED_PREFIXES = ['x-envoy-', 'x-postern-']

/** With this on an answer no Envoy tries the request again, whatever it retries on. */
export const NOT_RETRIABLE_HEADER = 'x-envoy-ratelimited'

/** Runs before any filter and before the log: removes reserved headers, then names the decision. `alsoRemoved` are names. */
export function buildHeaderHygiene(alsoRemoved: readonly string[] = []): TypedExtensionConfig {
  const nameDecision = { action: { case: 'append', value: setHeader('%UNIQUE_ID%') } } as const
  const others = alsoRemoved.map((value) => ({ action: { case: 'remove' as const, value } }))
  return buildMutations([...removeReserved(), ...others, nameDecision])
}

/** The same towards a service: what the app says in reserved headers steers neither this Envoy nor the next. */
export function buildOutboundHygiene(): TypedExtensionConfig {
  return buildMutations(removeReserved())
}

/**
 * The peer's address is the connection's, whatever a client says: without it Envoy reads `X-Forwarded-For` and, where that
 * names a private address, tells the app `x-envoy-internal`. It has no "none", so it looks where no address can stand.
 */
export function buildAddressDetection(): TypedExtensionConfig {
  return create(TypedExtensionConfigSchema, {
    name: 'envoy.http.original_ip_detection.custom_header',
    typedConfig: pack(CustomHeaderConfigSchema, { headerName: ':path' }),
  })
}

type Mutations = NonNullable<MessageInitShape<typeof HeaderMutationSchema>['mutations']>

function buildMutations(mutations: Mutations): TypedExtensionConfig {
  return create(TypedExtensionConfigSchema, {
    name: 'envoy.http.early_header_mutation.header_mutation',
    typedConfig: pack(HeaderMutationSchema, { mutations }),
  })
}

function removeReserved(): Mutations {
  return RESERVED_PREFIXES.map((value) => ({
    action: {
      case: 'removeOnMatch' as const,
      value: { keyMatcher: { matchPattern: { case: 'prefix' as const, value } } },
    },
  }))
}

/**
 * Takes all trailers off a request to an app that would get them: no policy reads them, and an app may take them for
 * headers. Towards HTTP/1.1 Envoy drops them by itself.
 */
export function buildTrailerHygiene({ protocol }: Pick<InboundPort, 'protocol'>): HttpFilter[] {
  if (protocol !== 'HTTP2' && protocol !== 'GRPC') return []
  const everything = { matchPattern: { case: 'safeRegex', value: { regex: '.*' } } } as const
  return [
    create(HttpFilterSchema, {
      name: 'envoy.filters.http.header_mutation',
      configType: {
        case: 'typedConfig',
        value: pack(HeaderMutationFilterSchema, {
          mutations: {
            requestTrailersMutations: [
              { action: { case: 'removeOnMatch', value: { keyMatcher: everything } } },
            ],
          },
        }),
      },
    }),
  ]
}

/** Unauthorized External Service: ext_authz denied, or could not decide. Rego may deny with a status that is retried. */
const DENIED_BY_CHECK = 'UAEX'

/** Fault Injected: by the body limit, which is no fault but uses that filter (body-limit.ts). */
const ABORTED = 'FI'

/**
 * Envoy's own answers (denials, 503) carry the decision id, so that a caller can ask why. A denial by the sidecar is
 * not tried again, whatever its status; RBAC's is 403, which nobody retries.
 */
export function buildLocalReplies(): LocalReplyConfig {
  return create(LocalReplyConfigSchema, {
    mappers: [
      {
        filter: {
          filterSpecifier: { case: 'responseFlagFilter', value: { flags: [DENIED_BY_CHECK] } },
        },
        headersToAdd: [
          setHeader(`%REQ(${DECISION_ID_HEADER})%`),
          setHeader('true', NOT_RETRIABLE_HEADER),
        ],
      },
      {
        filter: {
          filterSpecifier: { case: 'responseFlagFilter', value: { flags: [ABORTED] } },
        },
        body: {
          specifier: { case: 'inlineString', value: 'the body is larger than this service takes' },
        },
        headersToAdd: [setHeader(`%REQ(${DECISION_ID_HEADER})%`)],
      },
      {
        filter: {
          filterSpecifier: {
            case: 'statusCodeFilter',
            value: {
              comparison: {
                op: ComparisonFilter_Op.GE,
                value: { defaultValue: 100, runtimeKey: 'postern.local_replies' },
              },
            },
          },
        },
        headersToAdd: [setHeader(`%REQ(${DECISION_ID_HEADER})%`)],
      },
    ],
  })
}

function setHeader(value: string, key = DECISION_ID_HEADER) {
  return {
    header: { key, value },
    appendAction: HeaderValueOption_HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
  }
}
