/**
 * Reads an RBAC matcher as Envoy does, for `explain` and for tests without Envoy: lists in order, exact and
 * longest-prefix maps, a miss inside goes on with what stands after it. Knows only what this room writes, and throws for
 * anything else; that Envoy agrees is for test/integration/rbac-differential.test.ts and drills/explain.ts to show.
 */
import { anyUnpack } from '@bufbuild/protobuf/wkt'
import { isInBlock, parseAddress, parseCidr } from '../../../common/authz/address.ts'
import type { RequestAttributes } from '../../../common/authz/request.ts'
import { PEER_STATE } from '../../../common/xds.ts'
import { RBAC_Action } from '../../../proto/gen/envoy/config/rbac/v3/rbac_pb.js'
import type { TypedExtensionConfig } from '../../../proto/gen/xds/core/v3/extension_pb.js'
import type {
  Matcher,
  Matcher_MatcherList_Predicate,
  Matcher_OnMatch,
} from '../../../proto/gen/xds/type/matcher/v3/matcher_pb.js'
import type { StringMatcher } from '../../../proto/gen/xds/type/matcher/v3/string_pb.js'
import { rbacRegistry } from './registry.ts'

export interface MatcherResult {
  readonly name: string
  readonly allowed: boolean
}

/** Undefined: nothing matched, which the RBAC filter takes for a denial. */
export function interpret(
  matcher: Matcher | undefined,
  request: RequestAttributes,
): MatcherResult | undefined {
  if (matcher === undefined) return undefined
  return interpretType(matcher, request) ?? follow(matcher.onNoMatch, request)
}

function interpretType(matcher: Matcher, request: RequestAttributes): MatcherResult | undefined {
  const { matcherType } = matcher
  if (matcherType.case === 'matcherList') {
    for (const { predicate, onMatch } of matcherType.value.matchers) {
      const result = holds(required(predicate), request) ? follow(onMatch, request) : undefined
      if (result !== undefined) return result
    }
    return undefined
  }
  if (matcherType.case !== 'matcherTree') return undefined
  const { input, treeType } = matcherType.value
  const text = read(input, request)
  if (text === undefined || treeType.case === undefined || treeType.case === 'customMatch') {
    return undefined
  }
  const { map } = treeType.value
  const isHit = (key: string) =>
    treeType.case === 'exactMatchMap' ? key === text : text.startsWith(key)
  const keys = Object.keys(map).filter(isHit)
  for (const key of keys.sort((a, b) => b.length - a.length)) {
    const result = follow(map[key], request)
    if (result !== undefined) return result
  }
  return undefined
}

function follow(
  onMatch: Matcher_OnMatch | undefined,
  request: RequestAttributes,
): MatcherResult | undefined {
  if (onMatch?.onMatch.case === 'matcher') return interpret(onMatch.onMatch.value, request)
  if (onMatch?.onMatch.case !== 'action') return undefined
  const action = unpack(onMatch.onMatch.value)
  if (action.$typeName !== 'envoy.config.rbac.v3.Action') throw new Error(action.$typeName)
  const { name, action: kind } = action as unknown as { name: string; action: RBAC_Action }
  return { name, allowed: kind === RBAC_Action.ALLOW }
}

function holds(predicate: Matcher_MatcherList_Predicate, request: RequestAttributes): boolean {
  const { matchType } = predicate
  switch (matchType.case) {
    case 'notMatcher':
      return !holds(matchType.value, request)
    case 'andMatcher':
      return matchType.value.predicate.every((p) => holds(p, request))
    case 'orMatcher':
      return matchType.value.predicate.some((p) => holds(p, request))
    case 'singlePredicate': {
      const { input, matcher } = matchType.value
      const text = read(input, request)
      if (text === undefined) return false
      return matcher.case === 'valueMatch'
        ? matchesString(matcher.value, text)
        : isInRanges(matcher.value, text)
    }
    default:
      throw new Error('an empty predicate')
  }
}

function matchesString({ matchPattern }: StringMatcher, text: string): boolean {
  switch (matchPattern.case) {
    case 'exact':
      return text === matchPattern.value
    case 'prefix':
      return text.startsWith(matchPattern.value)
    case 'suffix':
      return text.endsWith(matchPattern.value)
    case 'contains':
      return text.includes(matchPattern.value)
    case 'safeRegex': {
      const { regex } = matchPattern.value
      const isDotAll = regex.startsWith('(?s)')
      const body = isDotAll ? regex.slice('(?s)'.length) : regex
      return new RegExp(`^(?:${body})$`, isDotAll ? 's' : '').test(text)
    }
    default:
      throw new Error('an empty string matcher')
  }
}

function isInRanges(config: TypedExtensionConfig | undefined, text: string): boolean {
  const ip = unpack(config) as unknown as {
    cidrRanges: { addressPrefix: string; prefixLen: number }[]
  }
  const address = parseAddress(text)
  return ip.cidrRanges.some(({ addressPrefix, prefixLen }) => {
    const block = parseCidr(`${addressPrefix}/${prefixLen}`)
    return address !== undefined && block !== undefined && isInBlock(address, block)
  })
}

/** Undefined: the request has no such thing. */
function read(
  input: TypedExtensionConfig | undefined,
  request: RequestAttributes,
): string | undefined {
  const message = unpack(input)
  switch (message.$typeName.split('.').at(-1)) {
    case 'HttpRequestHeaderMatchInput':
      return readHeader((message as unknown as { headerName: string }).headerName, request)
    case 'DirectSourceIPInput':
      return request.sourceAddress
    case 'UriSanInput':
      return request.principal
    case 'FilterStateInput':
      return readState((message as unknown as { key: string }).key, request)
    case 'DnsSanInput':
    case 'SubjectInput':
      return undefined
    default:
      throw new Error(message.$typeName)
  }
}

/** What a server-first chain hands on of the connection (peer-state.ts). */
function readState(key: string, request: RequestAttributes): string | undefined {
  if (key === PEER_STATE.uriSan) return request.principal
  if (key === PEER_STATE.address) return request.sourceAddress
  throw new Error(`filter state ${key}`)
}

function readHeader(name: string, request: RequestAttributes): string | undefined {
  if (name === ':path') return request.path
  if (name === ':method') return request.method
  return name === ':authority' ? request.host : request.headers?.[name]
}

function unpack(config: TypedExtensionConfig | undefined) {
  return required(anyUnpack(required(config?.typedConfig), rbacRegistry))
}

function required<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('a field is missing')
  return value
}
