/**
 * Which filter chain takes a connection, from its first bytes: a matcher beside the chains, so that a change of mode
 * changes no chain that stays. A chain that isn't named here takes nothing; what no entry names is closed.
 *
 *   STRICT      TLS → tls
 *   PERMISSIVE  TLS with the mesh's ALPN token → tls · other TLS, an app's own → passthrough · anything else → plaintext
 *   DISABLE     everything → plaintext
 */
import { create, type DescMessage, type MessageInitShape } from '@bufbuild/protobuf'
import { anyPack, StringValueSchema } from '@bufbuild/protobuf/wkt'
import {
  ApplicationProtocolInputSchema,
  TransportProtocolInputSchema,
} from '../../../proto/gen/envoy/extensions/matching/common_inputs/network/v3/network_inputs_pb.js'
import {
  type TypedExtensionConfig,
  TypedExtensionConfigSchema,
} from '../../../proto/gen/xds/core/v3/extension_pb.js'
import {
  type Matcher,
  type Matcher_MatcherList_Predicate,
  Matcher_MatcherList_PredicateSchema,
  type Matcher_OnMatch,
  Matcher_OnMatchSchema,
  MatcherSchema,
} from '../../../proto/gen/xds/type/matcher/v3/matcher_pb.js'
import type { MtlsMode } from '../model/mesh.ts'
import { MESH_ALPN, type Transport } from './names.ts'

/** `nameOf`: what the chain of a transport is called. */
export function buildChainMatcher(
  mode: MtlsMode,
  nameOf: (transport: Transport) => string = (transport) => transport,
): Matcher {
  const toChain = (transport: Transport) => onMatch(nameOf(transport))
  if (mode === 'DISABLE') return create(MatcherSchema, { onNoMatch: toChain('plaintext') })
  const matchers =
    mode === 'STRICT'
      ? [{ predicate: isTls(), onMatch: toChain('tls') }]
      : [
          { predicate: both(isTls(), offersMeshAlpn()), onMatch: toChain('tls') },
          { predicate: isTls(), onMatch: toChain('passthrough') },
        ]
  return create(MatcherSchema, {
    matcherType: { case: 'matcherList', value: { matchers } },
    ...(mode === 'STRICT' ? {} : { onNoMatch: toChain('plaintext') }),
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

function onMatch(name: string): Matcher_OnMatch {
  return create(Matcher_OnMatchSchema, {
    onMatch: { case: 'action', value: extension(name, StringValueSchema, { value: name }) },
  })
}

function extension<D extends DescMessage>(
  name: string,
  schema: D,
  init: MessageInitShape<D>,
): TypedExtensionConfig {
  return create(TypedExtensionConfigSchema, {
    name,
    typedConfig: anyPack(schema, create(schema, init)),
  })
}
