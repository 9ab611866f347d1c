/**
 * What is taken off an inbound request before anything reads it, and the decision id that is put on.
 * `x-envoy-*` steers the router (retries, timeouts, a failed authorization that let pass), `x-postern-*` is ours:
 * neither is a client's to say.
 */
import { create } from '@bufbuild/protobuf'
import { ComparisonFilter_Op } from '../../../proto/gen/envoy/config/accesslog/v3/accesslog_pb.js'
import { HeaderValueOption_HeaderAppendAction } from '../../../proto/gen/envoy/config/core/v3/base_pb.js'
import {
  type TypedExtensionConfig,
  TypedExtensionConfigSchema,
} from '../../../proto/gen/envoy/config/core/v3/extension_pb.js'
import {
  type LocalReplyConfig,
  LocalReplyConfigSchema,
} from '../../../proto/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { HeaderMutationSchema } from '../../../proto/gen/envoy/extensions/http/early_header_mutation/header_mutation/v3/header_mutation_pb.js'
import { DECISION_ID_HEADER } from './access-log.ts'
import { pack } from './encode.ts'

const RESERVED_PREFIXES = ['x-envoy-', 'x-postern-']

/** Runs before any filter and before the log: removes reserved headers, then names the decision. */
export function buildHeaderHygiene(): TypedExtensionConfig {
  return create(TypedExtensionConfigSchema, {
    name: 'envoy.http.early_header_mutation.header_mutation',
    typedConfig: pack(HeaderMutationSchema, {
      mutations: [
        ...RESERVED_PREFIXES.map((value) => ({
          action: {
            case: 'removeOnMatch' as const,
            value: { keyMatcher: { matchPattern: { case: 'prefix' as const, value } } },
          },
        })),
        { action: { case: 'append', value: setHeader('%UNIQUE_ID%') } },
      ],
    }),
  })
}

/** Envoy's own answers (denials, 503) carry the decision id, so that a caller can ask why. */
export function buildLocalReplies(): LocalReplyConfig {
  return create(LocalReplyConfigSchema, {
    mappers: [
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

function setHeader(value: string) {
  return {
    header: { key: DECISION_ID_HEADER, value },
    appendAction: HeaderValueOption_HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
  }
}
