/**
 * Predicates and decisions as Envoy's `xds.type.matcher.v3.Matcher`. Messages only; what they decide is made elsewhere.
 * Map keys are written in sorted order, so that equal sets are equal bytes.
 */
import { create, type DescMessage, type MessageInitShape } from '@bufbuild/protobuf'
import { anyPack } from '@bufbuild/protobuf/wkt'
import { formatAddress } from '../../../common/authz/address.ts'
import { remember } from '../../../common/remember.ts'
import { CidrRangeSchema } from '../../../proto/gen/envoy/config/core/v3/address_pb.js'
import { ActionSchema, RBAC_Action } from '../../../proto/gen/envoy/config/rbac/v3/rbac_pb.js'
import { DirectSourceIPInputSchema } from '../../../proto/gen/envoy/extensions/matching/common_inputs/network/v3/network_inputs_pb.js'
import {
  DnsSanInputSchema,
  SubjectInputSchema,
  UriSanInputSchema,
} from '../../../proto/gen/envoy/extensions/matching/common_inputs/ssl/v3/ssl_inputs_pb.js'
import { IpSchema } from '../../../proto/gen/envoy/extensions/matching/input_matchers/ip/v3/ip_pb.js'
import { HttpRequestHeaderMatchInputSchema } from '../../../proto/gen/envoy/type/matcher/v3/http_inputs_pb.js'
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
import type { StringMatcherSchema } from '../../../proto/gen/xds/type/matcher/v3/string_pb.js'
import type { Input, Predicate, TextTest } from './predicate.ts'

/** One entry of a list: the first whose predicate holds decides, unless its nested matcher finds nothing. */
export interface Entry {
  readonly predicate: Predicate
  readonly onMatch: Matcher_OnMatch
}

/** `name` is what logs and metadata call the decision. */
export function action(name: string, decision: 'ALLOW' | 'DENY'): Matcher_OnMatch {
  const message = create(ActionSchema, {
    name,
    action: decision === 'ALLOW' ? RBAC_Action.ALLOW : RBAC_Action.DENY,
  })
  return create(Matcher_OnMatchSchema, {
    onMatch: { case: 'action', value: extension('action', ActionSchema, message) },
  })
}

/** Entries in order, then `otherwise`. Entries that can't hold are left out; one that always holds ends the list. */
export function list(
  entries: readonly Entry[],
  otherwise: Matcher_OnMatch | undefined,
): Matcher_OnMatch | undefined {
  const kept: Entry[] = []
  for (const entry of entries) {
    if (entry.predicate.kind !== 'const') kept.push(entry)
    else if (entry.predicate.value) return toList(kept, entry.onMatch)
  }
  return toList(kept, otherwise)
}

/** A map by exact text or prefix; a miss, also of a nested matcher, goes on with `otherwise`. */
export function map(
  kind: 'exact' | 'prefix',
  input: Input,
  children: ReadonlyMap<string, Matcher_OnMatch>,
  otherwise: Matcher_OnMatch | undefined,
): Matcher_OnMatch {
  const entries = [...children].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  const treeType = {
    case: kind === 'exact' ? ('exactMatchMap' as const) : ('prefixMatchMap' as const),
    value: { map: Object.fromEntries(entries) },
  }
  return nest(
    create(MatcherSchema, {
      matcherType: { case: 'matcherTree', value: { input: toInput(input), treeType } },
      ...(otherwise === undefined ? {} : { onNoMatch: otherwise }),
    }),
  )
}

/** A decision as a whole matcher, as the RBAC filter takes it. */
export function toMatcher(decision: Matcher_OnMatch): Matcher {
  return decision.onMatch.case === 'matcher'
    ? decision.onMatch.value
    : create(MatcherSchema, { onNoMatch: decision })
}

function toList(
  entries: readonly Entry[],
  otherwise: Matcher_OnMatch | undefined,
): Matcher_OnMatch | undefined {
  if (entries.length === 0) return otherwise
  const matchers = entries.map((e) => ({ predicate: toPredicate(e.predicate), onMatch: e.onMatch }))
  return nest(
    create(MatcherSchema, {
      matcherType: { case: 'matcherList', value: { matchers } },
      ...(otherwise === undefined ? {} : { onNoMatch: otherwise }),
    }),
  )
}

function nest(matcher: Matcher): Matcher_OnMatch {
  return create(Matcher_OnMatchSchema, { onMatch: { case: 'matcher', value: matcher } })
}

/** Guards, and the rules of an unchanged policy, are the same values in every tree. */
const toPredicate = remember(buildPredicate)

function buildPredicate(predicate: Predicate): Matcher_MatcherList_Predicate {
  switch (predicate.kind) {
    case 'const':
      // `all`, `any` and `list` fold constants away; Envoy has no predicate for one.
      throw new Error('a constant is no predicate of a list')
    case 'text':
      return create(Matcher_MatcherList_PredicateSchema, {
        matchType: {
          case: 'singlePredicate',
          value: {
            input: toInput(predicate.input),
            matcher: { case: 'valueMatch', value: toStringMatcher(predicate.test) },
          },
        },
      })
    case 'address':
      return toAddressPredicate(predicate.blocks)
    case 'not':
      return create(Matcher_MatcherList_PredicateSchema, {
        matchType: { case: 'notMatcher', value: toPredicate(predicate.of) },
      })
    default:
      return create(Matcher_MatcherList_PredicateSchema, {
        matchType: {
          case: predicate.kind === 'and' ? 'andMatcher' : 'orMatcher',
          value: { predicate: predicate.of.map(toPredicate) },
        },
      })
  }
}

function toStringMatcher(test: TextTest): MessageInitShape<typeof StringMatcherSchema> {
  if (test.kind !== 'regex') return { matchPattern: { case: test.kind, value: test.value } }
  const engineType = { case: 'googleRe2' as const, value: {} }
  return { matchPattern: { case: 'safeRegex', value: { engineType, regex: test.value } } }
}

function toAddressPredicate(
  blocks: Extract<Predicate, { kind: 'address' }>['blocks'],
): Matcher_MatcherList_Predicate {
  const ip = create(IpSchema, {
    statPrefix: 'rbac',
    cidrRanges: blocks.map((block) =>
      create(CidrRangeSchema, { addressPrefix: formatAddress(block), prefixLen: block.bits }),
    ),
  })
  const input = extension('source_ip', DirectSourceIPInputSchema, create(DirectSourceIPInputSchema))
  return create(Matcher_MatcherList_PredicateSchema, {
    matchType: {
      case: 'singlePredicate',
      value: { input, matcher: { case: 'customMatch', value: extension('ip', IpSchema, ip) } },
    },
  })
}

const toInput = remember(buildInput)

function buildInput(input: Input): TypedExtensionConfig {
  switch (input.kind) {
    case 'header': {
      const headerName = input.name
      const message = create(HttpRequestHeaderMatchInputSchema, { headerName })
      return extension('header', HttpRequestHeaderMatchInputSchema, message)
    }
    case 'uriSan':
      return extension('uri_san', UriSanInputSchema, create(UriSanInputSchema))
    case 'dnsSan':
      return extension('dns_san', DnsSanInputSchema, create(DnsSanInputSchema))
    case 'subject':
      return extension('subject', SubjectInputSchema, create(SubjectInputSchema))
  }
}

function extension<Desc extends DescMessage>(
  name: string,
  schema: Desc,
  message: Parameters<typeof anyPack<Desc>>[1],
): TypedExtensionConfig {
  return create(TypedExtensionConfigSchema, { name, typedConfig: anyPack(schema, message) })
}
