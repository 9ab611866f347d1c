/**
 * Which filter chain takes a connection, from its first bytes: a matcher beside the chains, so that a change of mode
 * changes no chain that stays. A chain that isn't named here takes nothing; what no entry names is closed.
 *
 *   STRICT      TLS → tls
 *   PERMISSIVE  TLS with the mesh's ALPN token → tls · other TLS, an app's own → passthrough · anything else → plaintext
 *   DISABLE     everything → plaintext
 */
import { create, type DescMessage, type MessageInitShape } from '@bufbuild/protobuf'
import {
  ApplicationProtocolInputSchema,
  TransportProtocolInputSchema,
} from '../../../proto/gen/envoy/extensions/matching/common_inputs/network/v3/network_inputs_pb.js'
import {
  type Matcher,
  type Matcher_MatcherList_Predicate,
  Matcher_MatcherList_PredicateSchema,
  MatcherSchema,
} from '../../../proto/gen/xds/type/matcher/v3/matcher_pb.js'
import type { MtlsMode } from '../model/mesh.ts'
import { extension, toChain } from './encode.ts'
import { MESH_ALPN, type Transport } from './names.ts'

/** `nameOf`: what the chain of a transport is called. */
export function buildChainMatcher(
  mode: MtlsMode,
  nameOf: (transport: Transport) => string = (transport) => transport,
): Matcher {
  const to = (transport: Transport) => toChain(nameOf(transport))
  if (mode === 'DISABLE') return create(MatcherSchema, { onNoMatch: to('plaintext') })
  const matchers =
    mode === 'STRICT'
      ? [{ predicate: isTls(), onMatch: to('tls') }]
      : [
          { predicate: both(isTls(), offersMeshAlpn()), onMatch: to('tls') },
          { predicate: isTls(), onMatch: to('passthrough') },
        ]
  return create(MatcherSchema, {
    matcherType: { case: 'matcherList', value: { matchers } },
    ...(mode === 'STRICT' ? {} : { onNoMatch: to('plaintext') }),
  })
}

function isTls(): Matcher_MatcherList_Predicate {
  return single('transport_protocol', TransportProtocolInputSchema, {
    matchPattern: { case: 'exact', value: 'tls' },
  })
}

/** Envoy shows the protocols that a client offers as `'a','b'`. Who forges the token is asked for a certificate. */
function offersMeshAlpn(): Matcher_MatcherList_Predicate {
  return single('application_protocol', ApplicationProtocolInputSchema, {
    matchPattern: { case: 'contains', value: `'${MESH_ALPN}'` },
  })
}

function both(
  a: Matcher_MatcherList_Predicate,
  b: Matcher_MatcherList_Predicate,
): Matcher_MatcherList_Predicate {
  return create(Matcher_MatcherList_PredicateSchema, {
    matchType: { case: 'andMatcher', value: { predicate: [a, b] } },
  })
}

type ValueMatch = Extract<
  NonNullable<
    Extract<
      MessageInitShape<typeof Matcher_MatcherList_PredicateSchema>['matchType'],
      { case: 'singlePredicate' }
    >['value']['matcher']
  >,
  { case: 'valueMatch' }
>['value']

function single(
  name: string,
  input: DescMessage,
  value: ValueMatch,
): Matcher_MatcherList_Predicate {
  return create(Matcher_MatcherList_PredicateSchema, {
    matchType: {
      case: 'singlePredicate',
      value: { input: extension(name, input, {}), matcher: { case: 'valueMatch', value } },
    },
  })
}
