/**
 * What becomes of a request on its way to the policies: one form of path and host, as Postern's Envoys are configured
 * (controller/core/xds/http-connection-manager.ts). In: what a client sends. Out: what policies and app see, or the
 * status with which Envoy refuses it before any policy. The mirror of docs/reference/traffic.md, compared with a real Envoy.
 * Source: Envoy PathUtil (unescapeSlashes, canonicalPath by googleurl, mergeSlashes), HeaderUtility.
 */

export type Arrival =
  | { readonly ok: true; readonly value: string }
  /** 400, 404 where no route takes it, 403 for a tunnel. */
  | { readonly ok: false; readonly status: number; readonly why: string }

/** Characters that googleurl writes as `%XX`. */
const ESCAPED = new Set('"<>`{}^| ')
const UNRESERVED = /^[A-Za-z0-9_~-]$/
/** What Envoy takes for a port behind a host. */
const MAX_UINT32 = 0xff_ff_ff_ff
const KNOWN_METHODS = new Set([
  ...['DELETE', 'GET', 'HEAD', 'POST', 'PUT', 'OPTIONS', 'TRACE', 'COPY', 'LOCK', 'MKCOL', 'MOVE'],
  ...['PROPFIND', 'PROPPATCH', 'SEARCH', 'UNLOCK', 'BIND', 'REBIND', 'UNBIND', 'ACL', 'REPORT'],
  ...['MKACTIVITY', 'CHECKOUT', 'MERGE', 'SOURCE', 'NOTIFY', 'SUBSCRIBE', 'UNSUBSCRIBE'],
  ...['PATCH', 'PURGE', 'MKCALENDAR', 'LINK', 'UNLINK', 'QUERY'],
])

/** A target with scheme, as Envoy's URL parser takes it: perhaps a user, a host, perhaps a port, the rest. */
const ABSOLUTE =
  /^https?:\/\/(?:[\w\-.!~*'();:&=+$,%]*@)?([0-9A-Za-z.-]+|\[[0-9A-Fa-f:.]+\])(?::(\d+))?([/?].*)?$/i
const MAX_PORT = 65_535

export type ArrivedTarget =
  | { readonly ok: true; readonly path: string; readonly host: string }
  | Extract<Arrival, { ok: false }>

/** The target of an HTTP/1.1 request line, still as it was sent. The host of an absolute one beats `Host`. */
export function readTarget(method: string, target: string, host: string): ArrivedTarget {
  if (target.startsWith('/')) return { ok: true, path: target, host }
  if (method === 'OPTIONS' && target.startsWith('*')) return { ok: true, path: target, host }
  const [, named, port, path = '/'] = ABSOLUTE.exec(target) ?? []
  if (named === undefined || Number(port ?? 0) > MAX_PORT) {
    return refused(400, 'not a target: it is neither a path nor an absolute URL of HTTP')
  }
  return { ok: true, path, host: port === undefined ? named : `${named}:${port}` }
}

/** `:path` with its query. The query is never touched. */
export function normalisePath(sent: string): Arrival {
  if (!sent.startsWith('/')) return refused(404, 'no route takes a path that begins without "/"')
  if (sent.includes('#')) return refused(400, 'a fragment')
  if (/[^!-~]/.test(sent)) return refused(400, 'a byte in the path that is not printable ASCII')
  const mark = sent.indexOf('?')
  const path = mark === -1 ? sent : sent.slice(0, mark)
  const query = mark === -1 ? '' : sent.slice(mark)
  const slashed = path.replace(/%2f/gi, '/').replace(/%5c/gi, '\\')
  const canonical = canonicalPath(stripDotParameters(slashed))
  if (canonical === undefined) return refused(400, 'an encoded zero byte')
  return { ok: true, value: `${mergeSlashes(canonical)}${query}` }
}

/** Of a path that is nothing but slashes Envoy keeps the first and the last. */
function mergeSlashes(path: string): string {
  return /^\/{2,}$/.test(path) ? '//' : path.replace(/\/{2,}/g, '/')
}

/** `Host` or `:authority`, without one port and one trailing dot; its case stays. */
export function normaliseSentHost(sent: string): Arrival {
  const dot = sent.lastIndexOf('.')
  const isTrailing = dot !== -1 && (dot === sent.length - 1 || sent[dot + 1] === ':')
  const host = isTrailing ? `${sent.slice(0, dot)}${sent.slice(dot + 1)}` : sent
  const colon = host.lastIndexOf(':')
  const port = host.slice(colon + 1)
  const isPort =
    colon > host.lastIndexOf(']') && /^\+?\d+$/.test(port) && Number(port) <= MAX_UINT32
  return { ok: true, value: isPort ? host.slice(0, colon) : host }
}

/** A method as HTTP/1.1 takes it; HTTP/2 takes every token. A QUERY must say what its content is. */
export function checkMethod(method: string, hasContentType: boolean): Arrival {
  if (method === 'CONNECT') return refused(403, 'no tunnel through a service')
  if (!KNOWN_METHODS.has(method)) return refused(400, 'a method that HTTP/1.1 does not know')
  const isBareQuery = method === 'QUERY' && !hasContentType
  return isBareQuery ? refused(400, 'a QUERY without content-type') : { ok: true, value: method }
}

export interface ArrivedHeaders {
  /** Lower-case names; a header sent twice is joined by `,`. */
  readonly headers: Readonly<Record<string, string>>
  /** Names that Envoy took away. */
  readonly removed: readonly string[]
  /** Set when Envoy refuses the request for them. */
  readonly refusal?: Extract<Arrival, { ok: false }>
}

/** Taken off a request since they are Postern's, or Envoy's, to say. */
const RESERVED = /^(?:x-envoy-|x-postern-)|^x-forwarded-client-cert$/

export function arriveHeaders(sent: readonly (readonly [string, string])[]): ArrivedHeaders {
  const headers: Record<string, string> = {}
  const removed: string[] = []
  for (const [name, text] of sent) {
    const lower = name.toLowerCase()
    const value = text.replace(/^[ \t]+|[ \t]+$/g, '')
    const refusal = refuseHeader(lower, value)
    if (refusal !== undefined) return { headers: {}, removed, refusal }
    if (RESERVED.test(lower)) removed.push(lower)
    else headers[lower] = Object.hasOwn(headers, lower) ? `${headers[lower]},${value}` : value
  }
  return { headers, removed }
}

function refuseHeader(name: string, value: string): Extract<Arrival, { ok: false }> | undefined {
  if (name.includes('_')) return refused(400, `the header name ${name} has an underscore`)
  if (!/^[!#$%&'*+\-.^`|~0-9a-z]+$/.test(name)) return refused(400, 'a malformed header name')
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what Envoy refuses
  const isMalformed = /[\u0000-\u0008\u000a-\u001f\u007f]/.test(value)
  return isMalformed ? refused(400, `a control character in the header ${name}`) : undefined
}

function refused(status: number, why: string): Extract<Arrival, { ok: false }> {
  return { ok: false, status, why }
}

/** `/..;x/` is `/../` to servers that know path parameters. Source: Envoy, strip_dotdot_segments_with_parameters. */
function stripDotParameters(path: string): string {
  return path
    .split('/')
    .map((segment) => /^\.{1,2}(?=;)/.exec(segment)?.[0] ?? segment)
    .join('/')
}

/** Undefined: it holds what no path may. Source: googleurl url_canon_path.cc, DoPartialPathInternal. */
function canonicalPath(path: string): string | undefined {
  let so: Piece = { at: 0, out: '', invalidPercent: -4 }
  while (so.at < path.length) {
    const dot = dotLength(path, so.at)
    const next: Piece | undefined = dot > 0 ? readDot(path, dot, so) : readCharacter(path, so)
    if (next === undefined) return undefined
    so = next
  }
  return so.out
}

/** How far the path was read, and what is written by then. */
interface Piece {
  readonly at: number
  readonly out: string
  /** Where in `out` the last `%` stands that begins no escape. */
  readonly invalidPercent: number
}

function readDot(path: string, dot: number, so: Piece): Piece {
  const step = so.out.endsWith('/') ? classifyDot(path, so.at, dot) : undefined
  if (step === undefined) return { ...so, at: so.at + dot, out: `${so.out}.` }
  return { ...so, at: so.at + step.length, out: step.isUp ? backUp(so.out) : so.out }
}

function readCharacter(path: string, so: Piece): Piece | undefined {
  const { at, out } = so
  const char = path[at] ?? ''
  if (char === '\\') return { ...so, at: at + 1, out: `${out}/` }
  if (char !== '%') {
    return { ...so, at: at + 1, out: out + (ESCAPED.has(char) ? escapeChar(char) : char) }
  }
  const hex = /^[0-9A-Fa-f]{2}/.exec(path.slice(at + 1, at + 3))?.[0]
  if (hex === undefined) return { at: at + 1, out: `${out}%`, invalidPercent: out.length }
  if (hex === '00') return undefined
  const decoded = String.fromCharCode(Number.parseInt(hex, 16))
  if (!UNRESERVED.test(decoded)) return { ...so, at: at + 3, out: `${out}%${hex}` }
  const read = { ...so, at: at + 3, out: out + decoded }
  return { ...read, out: escapeNested(path, read) }
}

/** What was decoded must not make an escape with a `%` before it: `%2%61` is `%252a`. Source: CheckForNestedEscapes. */
function escapeNested(path: string, { at, out, invalidPercent }: Piece): string {
  if (invalidPercent < out.length - 3) return out
  const isNextNeeded = invalidPercent === out.length - 2
  const digits = out.slice(invalidPercent + 1) + (isNextNeeded ? (path[at] ?? '') : '')
  if (!/^[0-9A-Fa-f]{2}$/.test(digits)) return out
  return `${out.slice(0, invalidPercent)}%25${out.slice(invalidPercent + 1)}`
}

/** Length of a dot, plain or encoded; 0: there is none. */
function dotLength(path: string, at: number): number {
  if (path[at] === '.') return 1
  return /^%2e/i.test(path.slice(at, at + 3)) ? 3 : 0
}

/** After a slash: `.` and `..` as a whole segment are steps, with the slash that ends them; else undefined. */
function classifyDot(
  path: string,
  at: number,
  dot: number,
): { readonly length: number; readonly isUp: boolean } | undefined {
  const second = dotLength(path, at + dot)
  const end = at + dot + second
  if (end >= path.length) return { length: dot + second, isUp: second > 0 }
  const isSlash = path[end] === '/' || path[end] === '\\'
  return isSlash ? { length: dot + second + 1, isUp: second > 0 } : undefined
}

/** Without the last segment; `/` stays. */
function backUp(out: string): string {
  return out.length <= 1 ? out : out.slice(0, out.lastIndexOf('/', out.length - 2) + 1)
}

function escapeChar(char: string): string {
  return `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`
}
