/**
 * The five guards that stand before every rule, in Envoy's tree and in the sidecar alike (LOWERING, verdict 6).
 * In: attributes as Envoy reports them, before anything reads them as a policy would. Out: the guard that refuses, if any.
 * What two readers could read differently (a malformed path, two hosts in one, two identities, a method in lower case, a name that is no SPIFFE id) never gets to a rule.
 */

export const GUARD_PATH = 'guard/path'
export const GUARD_HOST = 'guard/host'
export const GUARD_METHOD = 'guard/method'
export const GUARD_SAN = 'guard/san'
export const GUARD_IDENTITY = 'guard/identity'

export type GuardName =
  | typeof GUARD_PATH
  | typeof GUARD_HOST
  | typeof GUARD_METHOD
  | typeof GUARD_SAN
  | typeof GUARD_IDENTITY

/** Full match required. Printable ASCII, valid escapes, one or more characters, then any printable query. Same text in RE2. */
export const PATH_GUARD_PATTERN = '(?:[!-$&->@-~]|%[0-9A-Fa-f]{2})+(?:\\?[!-~]*)?'

/** A dot as it is, encoded, overlong (two, three bytes), and what compatibility forms of Unicode turn into one or two. */
const DOT =
  '(?:\\.|%(?:2[Ee]|[Cc]0%[Aa][Ee]|[Ee]0%80%[Aa][Ee]|[Ee]2%80%[Aa][45]|[Ee][Ff]%(?:[Bb][Cc]%8[Ee]|[Bb]9%92|[Bb]8%[Bb]0)))'

/** Overlong slashes and backslashes, and the full-width slash; those in plain UTF-8 were decoded or refused before. */
const SLASH = '%(?:[Cc]0%[Aa][Ff]|[Cc]1%9[Cc]|[Ee]0%80%[Aa][Ff]|[Ee][Ff]%[Bb][Cc]%8[Ff])'

/**
 * Escapes of what apps trim or drop: control characters and blanks (also as Latin-1 and C1 bytes), and the blanks and
 * invisible characters of Unicode in UTF-8.
 */
const BLANK = `%(?:${[
  '[0189][0-9A-Fa-f]',
  '20',
  '7[Ff]',
  '[Aa][0Dd]',
  '[Cc]2%(?:[89][0-9A-Fa-f]|[Aa][0Dd])',
  '[Ee]1%(?:9[Aa]%80|[Aa]0%8[Ee])',
  '[Ee]2%8(?:0%(?:8[0-9A-Fa-f]|[Aa][89A-Fa-f])|1%(?:9[Ff]|[Aa][0-9A-Fa-f]))',
  '[Ee]3%80%80',
  '[Ee][Ff]%[Bb][Bb]%[Bb][Ff]',
].join('|')})`

/**
 * A full match is refused, query or not: a segment that is dots to apps that take something away. Behind its dots
 * a parameter (Tomcat and Jetty read `..;` as `..`), a blank, a control character, `?` or `#`, and then anything; or
 * the dots with blanks before, between and behind them (`+` is one to those who decode forms). Encoded or not. It stands
 * in the tree of every listener of every proxy, so that it is short. Same text in RE2; cases are written out:
 * `/^(?i:a(?:x|%3[bf]))$/` doesn't match `a%3B` in V8 14.6.
 */
export const DOT_GUARD_PATTERN = `[^?]*(?:/|${SLASH})(?:\\+|${BLANK})*${DOT}(?:\\+|${DOT})*(?:(?:[/?;]|%3[BbFf]|%23|${SLASH}|${BLANK})[!-~]*)?`

/**
 * Full match required. A host name or an address in brackets. Envoy took a trailing dot and a port away: one that is
 * still there was the second, and `a:80` would evade a DENY on `a`. So would `Host` sent twice (`a,a`), `user@a` or
 * `a..`, and still mean `a` to an app. Same text in RE2.
 */
export const HOST_GUARD_PATTERN = '[0-9A-Za-z_-]+(?:\\.[0-9A-Za-z_-]+)*|\\[[0-9A-Fa-f:.]+\\]'

/**
 * Full match required: words in upper case, as all registered methods are. HTTP/2 carries `post` as it is, which no DENY of POST
 * meets and some apps take for POST. Same text in RE2.
 */
export const METHOD_GUARD_PATTERN = '[A-Z]+(?:-[A-Z]+)*'

const SCHEME = 'spiffe://'
const PATH = new RegExp(`^(?:${PATH_GUARD_PATTERN})$`)
const DOTS = new RegExp(`^(?:${DOT_GUARD_PATTERN})$`)
const HOST = new RegExp(`^(?:${HOST_GUARD_PATTERN})$`)
const METHOD = new RegExp(`^(?:${METHOD_GUARD_PATTERN})$`)

export interface RawAttributes {
  readonly protocol: 'http' | 'tcp'
  /** `:path` with its query; required of HTTP. */
  readonly path: string | undefined
  /** `:authority`, without port and trailing dot; required of HTTP. */
  readonly host: string | undefined
  /** As sent; required of HTTP. */
  readonly method: string | undefined
  /**
   * What Envoy says the peer's certificate names: its URI SANs joined by `,`, or (ext_authz's `source.principal`)
   * the first URI SAN, else the first DNS SAN, else the subject. Absent or empty: no certificate.
   */
  readonly peer: string | undefined
}

/** The first guard that refuses the request, or undefined when it may go on to the rules. */
export function findGuard(raw: RawAttributes): GuardName | undefined {
  if (raw.protocol === 'http') {
    if (raw.path === undefined || !PATH.test(raw.path) || DOTS.test(raw.path)) return GUARD_PATH
    if (raw.host === undefined || !HOST.test(raw.host)) return GUARD_HOST
    if (raw.method === undefined || !METHOD.test(raw.method)) return GUARD_METHOD
  }
  if (raw.peer === undefined || raw.peer === '') return undefined
  if (raw.peer.includes(',') && raw.peer.startsWith(SCHEME)) return GUARD_SAN
  return raw.peer.startsWith(SCHEME) ? undefined : GUARD_IDENTITY
}
