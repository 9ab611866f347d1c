/**
 * The size of a request's body. Who announces a length is compared by it, and the body passes as it comes: the codec
 * holds the client to its word. A body of unknown length is held back by the buffer filter, which answers 413 when it
 * grows too long, or announces its length when it is whole; that alone is not exact, as a body that comes in one piece
 * is not measured. So the abort filter, behind it, compares every length.
 * Both stand behind the deciding filters: who is denied learns nothing of the limit and fills no buffer.
 */
import { create } from '@bufbuild/protobuf'
import {
  type HeaderMatcher,
  HeaderMatcherSchema,
  type Route,
  RouteMatchSchema,
} from '../../../proto/gen/envoy/config/route/v3/route_components_pb.js'
import {
  BufferPerRouteSchema,
  BufferSchema,
} from '../../../proto/gen/envoy/extensions/filters/http/buffer/v3/buffer_pb.js'
import { HTTPFaultSchema } from '../../../proto/gen/envoy/extensions/filters/http/fault/v3/fault_pb.js'
import {
  type HttpFilter,
  HttpFilterSchema,
} from '../../../proto/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { FractionalPercent_DenominatorType } from '../../../proto/gen/envoy/type/v3/percent_pb.js'
import type { InboundLimits } from '../model/traffic.ts'
import { pack } from './encode.ts'

const BUFFER = 'envoy.filters.http.buffer'
const ABORT = 'envoy.filters.http.fault'
const INT64_MAX = 0x7fff_ffff_ffff_ffffn

/** None without a limit. */
export function buildBodyFilters({ maxRequestBodyBytes }: InboundLimits = {}): HttpFilter[] {
  if (maxRequestBodyBytes === undefined) return []
  const hold = pack(BufferSchema, { maxRequestBytes: maxRequestBodyBytes })
  const abort = pack(HTTPFaultSchema, {
    abort: {
      errorType: { case: 'httpStatus', value: 413 },
      percentage: { numerator: 100, denominator: FractionalPercent_DenominatorType.HUNDRED },
    },
    headers: [lengthFrom(BigInt(maxRequestBodyBytes) + 1n)],
  })
  return [
    create(HttpFilterSchema, { name: BUFFER, configType: { case: 'typedConfig', value: hold } }),
    create(HttpFilterSchema, { name: ABORT, configType: { case: 'typedConfig', value: abort } }),
  ]
}

/** Held back is only what is neither a websocket nor says its length. */
export function buildBodyRoutes(toApp: Route): Route[] {
  const unheld: Route = {
    ...toApp,
    typedPerFilterConfig: {
      [BUFFER]: pack(BufferPerRouteSchema, { override: { case: 'disabled', value: true } }),
    },
  }
  return [
    { ...restrict(unheld, WEBSOCKET), name: `${toApp.name}/websocket` },
    { ...restrict(unheld, [HAS_LENGTH]), name: `${toApp.name}/length` },
    toApp,
  ]
}

const LENGTH = 'content-length'
const HAS_LENGTH = create(HeaderMatcherSchema, {
  name: LENGTH,
  headerMatchSpecifier: { case: 'presentMatch', value: true },
})

/** As Envoy itself tells an upgrade. What its client sends comes to the app only once that has said 101. */
const WEBSOCKET = [
  matchText(':method', { case: 'exact', value: 'GET' }),
  matchText('upgrade', { case: 'exact', value: 'websocket' }),
  matchText('connection', { case: 'contains', value: 'upgrade' }),
]

function matchText(
  name: string,
  matchPattern: { readonly case: 'exact' | 'contains'; readonly value: string },
): HeaderMatcher {
  return create(HeaderMatcherSchema, {
    name,
    headerMatchSpecifier: { case: 'stringMatch', value: { matchPattern, ignoreCase: true } },
  })
}

function lengthFrom(bytes: bigint): HeaderMatcher {
  return create(HeaderMatcherSchema, {
    name: LENGTH,
    headerMatchSpecifier: { case: 'rangeMatch', value: { start: bytes, end: INT64_MAX } },
  })
}

function restrict(route: Route, headers: readonly HeaderMatcher[]): Route {
  const match = route.match ?? create(RouteMatchSchema)
  return { ...route, match: { ...match, headers: [...headers] } }
}
