/**
 * The grammar of values in rules: principals, namespaces, hosts, methods, paths, ports, IP blocks, header values.
 * Each parser gives the literal match that a value means (normalised), or what is wrong with it.
 * The patterns in crds/authorizationpolicies.yaml accept the same texts (tested), so that an API server refuses alike.
 * Source: DESIGN §4 "Fine print"; where it is silent, Istio's AuthorizationPolicy.
 */
import type { StringMatch, TemplateSegment } from '../../../common/policy-set.ts'
import { isTrustDomain } from '../../../common/spiffe-id.ts'
import { formatCidr, formatIp, maskCidr, parseCidr, parseIp } from './net.ts'

export type Parsed<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly message: string; readonly remedy: string }

const SCHEME = 'spiffe://'
const SPIFFE_CHARACTERS = /^[A-Za-z0-9._/-]*$/
const PATH_CHARACTERS = /^[A-Za-z0-9._~!$&'()+,;=:@/-]*$/
const HOST_CHARACTERS = /^[A-Za-z0-9._-]*$/
const STAR_REMEDY = 'write an exact value, `prefix*`, `*suffix` or `*`'

function refuse(message: string, remedy: string): { ok: false; message: string; remedy: string } {
  return { ok: false, message, remedy }
}

/** Splits off a star at one end. Empty text and a star elsewhere are refused. */
function parseStar(text: string): Parsed<StringMatch> {
  if (text === '') return refuse('must not be empty', `${STAR_REMEDY}, or leave the list out`)
  if (text === '*') return { ok: true, value: { kind: 'present' } }
  const kind = text.endsWith('*') ? 'prefix' : text.startsWith('*') ? 'suffix' : 'exact'
  const value = kind === 'prefix' ? text.slice(0, -1) : kind === 'suffix' ? text.slice(1) : text
  if (value.includes('*'))
    return refuse('has a star elsewhere than at the start or at the end', STAR_REMEDY)
  return { ok: true, value: { kind, value } }
}

/** Whether a segment that is whole is empty, `.` or `..`: normalised text never has such. */
function hasOddSegment(segments: readonly string[]): boolean {
  return segments.some((s) => s === '' || s === '.' || s === '..')
}

const PRINCIPAL_REMEDY =
  'write a SPIFFE id such as spiffe://example.org/ns/shop/sa/web, or a part of it with a star at one end'

/** Exact and prefix values come out with the scheme, whether or not it was written. */
export function parsePrincipal(text: string): Parsed<StringMatch> {
  const parsed = parseStar(text)
  if (!parsed.ok || parsed.value.kind === 'present' || parsed.value.kind === 'template')
    return parsed
  const { kind, value } = parsed.value
  if (kind === 'suffix') return parsePrincipalSuffix(value)
  const id = value.startsWith(SCHEME) ? value.slice(SCHEME.length) : value
  const wrong = principalMistake(id, kind, value.startsWith(SCHEME))
  return wrong === undefined
    ? { ok: true, value: { kind, value: `${SCHEME}${id}` } }
    : refuse(wrong, PRINCIPAL_REMEDY)
}

/** `id` is what follows the scheme. */
function principalMistake(
  id: string,
  kind: 'exact' | 'prefix',
  hasScheme: boolean,
): string | undefined {
  if (id.includes(':')) return 'has a scheme other than spiffe, or a port'
  const [trustDomain = '', ...segments] = id.split('/')
  const partial = kind === 'prefix'
  if (partial && hasScheme && id === '') return undefined
  if (!isTrustDomain(trustDomain)) {
    return trustDomain === ''
      ? 'has no trust domain'
      : `names the trust domain ${JSON.stringify(trustDomain)}; one has only lower-case letters, digits, ".", "_" and "-"`
  }
  if (!SPIFFE_CHARACTERS.test(id)) return 'has a character that a SPIFFE id cannot have'
  if (!partial && segments.length === 0)
    return 'has no path: it names a trust domain, not a workload'
  // The last segment of a prefix goes on after the star.
  return hasOddSegment(partial ? segments.slice(0, -1) : segments)
    ? 'has an empty, "." or ".." path segment'
    : undefined
}

function parsePrincipalSuffix(value: string): Parsed<StringMatch> {
  if (!SPIFFE_CHARACTERS.test(value)) {
    return refuse('has a character that a SPIFFE id cannot have', PRINCIPAL_REMEDY)
  }
  return hasOddSegment(value.split('/').slice(1))
    ? refuse('has an empty, "." or ".." path segment', PRINCIPAL_REMEDY)
    : { ok: true, value: { kind: 'suffix', value } }
}

export function parseNamespace(text: string): Parsed<StringMatch> {
  const parsed = parseStar(text)
  if (!parsed.ok || parsed.value.kind === 'present' || parsed.value.kind === 'template')
    return parsed
  const { kind, value } = parsed.value
  const start = kind === 'suffix' || !value.startsWith('-')
  const end = kind !== 'exact' || !value.endsWith('-')
  return /^[a-z0-9-]+$/.test(value) && start && end
    ? parsed
    : refuse(
        'is no namespace: lower-case letters, digits and "-"',
        'write the name of a namespace, with a star at one end if need be',
      )
}

/** Comes out in lower case. */
export function parseHost(text: string): Parsed<StringMatch> {
  const parsed = parseStar(text)
  if (!parsed.ok || parsed.value.kind === 'present' || parsed.value.kind === 'template')
    return parsed
  const { kind, value } = parsed.value
  const match: StringMatch = { kind, value: value.toLowerCase() }
  if (kind === 'exact' && /^\[[0-9A-Fa-f:.]+\]$/.test(value)) return { ok: true, value: match }
  if (value.includes(':'))
    return refuse('has a port or a scheme', 'write the host alone; ports go to "ports"')
  if (!HOST_CHARACTERS.test(value)) {
    return refuse(
      'has a character that a host name cannot have',
      'write the host name in ASCII, international names as punycode',
    )
  }
  if (kind !== 'prefix' && value.endsWith('.'))
    return refuse('ends in a dot', 'leave the trailing dot out; hosts are compared without it')
  return kind !== 'suffix' && value.startsWith('.')
    ? refuse('starts with a dot', `write "*${value}" for all hosts below`)
    : { ok: true, value: match }
}

export function parseMethod(text: string): Parsed<StringMatch> {
  const parsed = parseStar(text)
  if (!parsed.ok || parsed.value.kind === 'present' || parsed.value.kind === 'template')
    return parsed
  const { kind, value } = parsed.value
  const form = kind === 'suffix' ? /^[A-Z0-9_-]+$/ : /^[A-Z][A-Z0-9_-]*$/
  if (form.test(value)) return parsed
  const upper = text.toUpperCase()
  return refuse(
    'is no HTTP method in upper case; methods are compared as they are sent',
    text !== upper && form.test(value.toUpperCase())
      ? `write ${JSON.stringify(upper)}`
      : 'write a method such as "GET"',
  )
}

const PATH_REMEDY =
  'write a path such as /a/b, /a/*, *.css, or a template such as /a/{*}/b or /a/{**}'

export function parsePath(text: string): Parsed<StringMatch> {
  if (/[{}]/.test(text)) return parseTemplate(text)
  const parsed = parseStar(text)
  if (!parsed.ok || parsed.value.kind === 'present' || parsed.value.kind === 'template')
    return parsed
  const { kind, value } = parsed.value
  if (kind !== 'suffix' && !value.startsWith('/'))
    return refuse('does not start with "/"', PATH_REMEDY)
  const wrong = pathMistake(value)
  if (wrong !== undefined) return wrong
  return hasOddSegment(wholeSegments(kind, value))
    ? refuse(
        'has an empty, "." or ".." segment, which no normalised path has',
        'write the path as it is after normalisation',
      )
    : parsed
}

/** The segments that a match holds entirely; an exact or suffix value may end in a slash. */
function wholeSegments(kind: 'exact' | 'prefix' | 'suffix', value: string): string[] {
  const segments = value.split('/').slice(1)
  return kind === 'prefix' || segments.at(-1) === '' ? segments.slice(0, -1) : segments
}

function pathMistake(value: string): ReturnType<typeof refuse> | undefined {
  if (/[?#]/.test(value))
    return refuse(
      'has a query or a fragment; paths are compared without',
      'leave out what follows the path, or use Rego',
    )
  if (value.includes('%')) {
    return refuse(
      'is percent-encoded: one path has several encodings',
      'write the characters themselves; for others than letters, digits and punctuation use Rego',
    )
  }
  if (value.includes('\\'))
    return refuse('has a backslash, which normalisation turns into "/"', 'write "/"')
  return PATH_CHARACTERS.test(value)
    ? undefined
    : refuse(
        'has a character that no normalised path has',
        'use Rego for paths with such characters',
      )
}

function parseTemplate(text: string): Parsed<StringMatch> {
  if (!text.startsWith('/')) return refuse('does not start with "/"', PATH_REMEDY)
  const parts = text.slice(1).split('/')
  const segments = parts.map(toSegment)
  if (segments.some((s) => s === undefined)) {
    return refuse('has a brace or star that is not a whole segment {*} or {**}', PATH_REMEDY)
  }
  if (segments.slice(0, -1).some((s) => s?.kind === 'any')) {
    return refuse('has {**} before the last segment', PATH_REMEDY)
  }
  const literals = segments.flatMap((s) => (s?.kind === 'literal' ? [s.value] : []))
  const wrong = pathMistake(literals.join('/'))
  if (wrong !== undefined) return wrong
  return hasOddSegment(literals)
    ? refuse('has an empty, "." or ".." segment, which no normalised path has', PATH_REMEDY)
    : { ok: true, value: { kind: 'template', segments: segments as TemplateSegment[] } }
}

function toSegment(text: string): TemplateSegment | undefined {
  if (text === '{*}') return { kind: 'one' }
  if (text === '{**}') return { kind: 'any' }
  return /[{}*]/.test(text) ? undefined : { kind: 'literal', value: text }
}

/** Control characters cannot be in a header. Anything else is literal. */
export function parseHeaderValue(text: string): Parsed<StringMatch> {
  const parsed = parseStar(text)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return parsed.ok && /[\x00-\x1f\x7f]/.test(text)
    ? refuse('has a control character, which no header has', 'remove it')
    : parsed
}

/** A port, as a number or in decimal. */
export function parsePort(value: number | string): Parsed<number> {
  const port =
    typeof value === 'number' ? value : /^[1-9][0-9]{0,4}$/.test(value) ? Number(value) : 0
  return Number.isInteger(port) && port >= 1 && port <= 65535
    ? { ok: true, value: port }
    : refuse('is no port', 'write a number from 1 to 65535')
}

/** Canonical CIDR text; an address alone is a block of one. */
export function parseIpBlock(text: string): Parsed<string> {
  const address = parseIp(text)
  if (address !== undefined)
    return { ok: true, value: formatCidr({ ...address, prefixLength: address.bytes.length * 8 }) }
  const block = parseCidr(text)
  if (block === undefined) {
    return refuse(
      'is neither an IP address nor a CIDR block',
      /^::ffff:/i.test(text)
        ? 'write the IPv4 form, such as 10.0.0.0/8'
        : 'write 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32, without leading zeros',
    )
  }
  const masked = maskCidr(block)
  return formatCidr(masked) === formatCidr(block)
    ? { ok: true, value: formatCidr(block) }
    : refuse(
        'has bits set after the prefix',
        `write ${formatCidr(masked)} for the block, or ${formatIp(block)} for the address`,
      )
}

/** What the schema can say of it; the rest is `parseIpBlock`'s. */
export function parseIpBlockShape(text: string): Parsed<string> {
  return /^[0-9A-Fa-f:.]{2,45}(?:\/[0-9]{1,3})?$/.test(text)
    ? { ok: true, value: text }
    : refuse(
        'is neither an IP address nor a CIDR block',
        'write 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32',
      )
}

const PLAIN_KEYS = [
  'source.principal',
  'source.namespace',
  'source.ip',
  'destination.port',
] as const

export type WhenKey =
  | { readonly kind: 'header'; readonly name: string }
  | { readonly kind: 'source.ip' }
  | { readonly kind: 'source.principal' | 'source.namespace' | 'destination.port' }

/** Header names come out in lower case. */
export function parseWhenKey(text: string): Parsed<WhenKey> {
  const plain = PLAIN_KEYS.find((key) => key === text)
  if (plain !== undefined) return { ok: true, value: { kind: plain } }
  const name = /^request\.headers\[([0-9A-Za-z!#$%&'*+.^_`|~-]+)\]$/.exec(text)?.[1]?.toLowerCase()
  if (name === undefined) {
    return refuse(
      'is no known attribute',
      'write request.headers[NAME], source.principal, source.namespace, source.ip or destination.port',
    )
  }
  return name === 'host'
    ? refuse('names the host, which is no header here', 'use "hosts" in "to"')
    : { ok: true, value: { kind: 'header', name } }
}
