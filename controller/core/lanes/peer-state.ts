/**
 * A tree that reads the peer from filter state instead of the connection: for the internal listener that decides about
 * a server-first port (core/xds/server-first.ts), whose own connection has neither certificate nor address.
 * In: a network RBAC tree. Out: the same tree with its inputs exchanged; an input that has no counterpart is a bug.
 */
import { create } from '@bufbuild/protobuf'
import { anyPack } from '@bufbuild/protobuf/wkt'
import { PEER_STATE } from '../../../common/xds.ts'
import type { RBAC } from '../../../proto/gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.js'
import {
  DirectSourceIPInputSchema,
  FilterStateInputSchema,
} from '../../../proto/gen/envoy/extensions/matching/common_inputs/network/v3/network_inputs_pb.js'
import {
  DnsSanInputSchema,
  SubjectInputSchema,
  UriSanInputSchema,
} from '../../../proto/gen/envoy/extensions/matching/common_inputs/ssl/v3/ssl_inputs_pb.js'
import {
  type TypedExtensionConfig,
  TypedExtensionConfigSchema,
} from '../../../proto/gen/xds/core/v3/extension_pb.js'
import type {
  Matcher,
  Matcher_MatcherList_Predicate,
  Matcher_OnMatch,
} from '../../../proto/gen/xds/type/matcher/v3/matcher_pb.js'

/**
 * DNS SAN and subject are asked only whether there is a certificate (lanes/guards.ts). On a chain with TLS there always
 * is, so they read what always is there: a certificate without a URI SAN stays denied.
 */
const STATE_OF: Readonly<Record<string, string>> = {
  [UriSanInputSchema.typeName]: PEER_STATE.uriSan,
  [DnsSanInputSchema.typeName]: PEER_STATE.address,
  [SubjectInputSchema.typeName]: PEER_STATE.address,
  [DirectSourceIPInputSchema.typeName]: PEER_STATE.address,
}

/** The filter, with every input of its tree read from filter state. */
export function readPeerState(rbac: RBAC): RBAC {
  return rbac.matcher === undefined ? rbac : { ...rbac, matcher: inMatcher(rbac.matcher) }
}

function inMatcher(matcher: Matcher): Matcher {
  const { onNoMatch } = matcher
  return {
    ...matcher,
    matcherType: inType(matcher.matcherType),
    ...(onNoMatch === undefined ? {} : { onNoMatch: inDecision(onNoMatch) }),
  }
}

function inType(type: Matcher['matcherType']): Matcher['matcherType'] {
  if (type.case === 'matcherList') {
    const matchers = type.value.matchers.map((entry) => ({
      ...entry,
      ...(entry.predicate === undefined ? {} : { predicate: inPredicate(entry.predicate) }),
      ...(entry.onMatch === undefined ? {} : { onMatch: inDecision(entry.onMatch) }),
    }))
    return { ...type, value: { ...type.value, matchers } }
  }
  if (type.case !== 'matcherTree') return type
  const { input, treeType } = type.value
  if (treeType.case !== 'exactMatchMap' && treeType.case !== 'prefixMatchMap') {
    throw new Error(`no such tree is built: ${treeType.case}`)
  }
  const entries = Object.entries(treeType.value.map)
  const map = Object.fromEntries(entries.map(([key, value]) => [key, inDecision(value)]))
  return {
    ...type,
    value: {
      ...type.value,
      ...(input === undefined ? {} : { input: toState(input) }),
      treeType: { ...treeType, value: { ...treeType.value, map } },
    },
  }
}

function inDecision(decision: Matcher_OnMatch): Matcher_OnMatch {
  const { onMatch } = decision
  return onMatch.case === 'matcher'
    ? { ...decision, onMatch: { ...onMatch, value: inMatcher(onMatch.value) } }
    : decision
}

function inPredicate(predicate: Matcher_MatcherList_Predicate): Matcher_MatcherList_Predicate {
  const { matchType } = predicate
  switch (matchType.case) {
    case 'singlePredicate': {
      const { input } = matchType.value
      const value = {
        ...matchType.value,
        ...(input === undefined ? {} : { input: toState(input) }),
      }
      return { ...predicate, matchType: { ...matchType, value } }
    }
    case 'andMatcher':
    case 'orMatcher': {
      const value = { ...matchType.value, predicate: matchType.value.predicate.map(inPredicate) }
      return { ...predicate, matchType: { ...matchType, value } }
    }
    case 'notMatcher':
      return { ...predicate, matchType: { ...matchType, value: inPredicate(matchType.value) } }
    default:
      return predicate
  }
}

function toState(input: TypedExtensionConfig): TypedExtensionConfig {
  const typeUrl = input.typedConfig?.typeUrl ?? ''
  const key = STATE_OF[typeUrl.slice(typeUrl.lastIndexOf('/') + 1)]
  if (key === undefined) throw new Error(`a connection has no filter state for ${typeUrl}`)
  const message = create(FilterStateInputSchema, { key })
  return create(TypedExtensionConfigSchema, {
    name: input.name,
    typedConfig: anyPack(FilterStateInputSchema, message),
  })
}
