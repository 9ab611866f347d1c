/**
 * Go's mime.ParseMediaType: `multipart/form-data; boundary=x` or `form-data; name="a"` → type and parameters.
 * Undefined where Go reports an error. Source: RFC 1521, RFC 2231 (continuations and charsets); Go's rules for the rest.
 */

export interface MediaType {
  readonly type: string
  readonly parameters: ReadonlyMap<string, string>
}

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z{}]+/
const MEDIA_TYPE = /^[!#$%&'*+\-.^_`|~0-9a-z{}]+(?:\/[!#$%&'*+\-.^_`|~0-9a-z{}]+)?$/
/** RFC 1521 tspecials: the characters that a backslash in a quoted value may escape. */
const TSPECIAL = /[()<>@,;:\\"/[\]?=]/

/** Undefined: not a media type, a bad parameter, or one parameter with two values. */
export function parseMediaType(text: string): MediaType | undefined {
  const semicolon = text.indexOf(';')
  const base = semicolon < 0 ? text : text.slice(0, semicolon)
  const type = base.toLowerCase().trim()
  if (!MEDIA_TYPE.test(type)) return undefined
  const given = readParameters(text.slice(base.length))
  return given === undefined ? undefined : { type, parameters: joinContinuations(given) }
}

function readParameters(text: string): Map<string, string> | undefined {
  const given = new Map<string, string>()
  let rest = text.trimStart()
  while (rest !== '') {
    const parameter = readParameter(rest)
    // a trailing semicolon is no error
    if (parameter === undefined) return rest.trim() === ';' ? given : undefined
    const before = given.get(parameter.name)
    if (before !== undefined && before !== parameter.value) return undefined
    given.set(parameter.name, parameter.value)
    rest = parameter.rest.trimStart()
  }
  return given
}

function readParameter(text: string): { name: string; value: string; rest: string } | undefined {
  if (!text.startsWith(';')) return undefined
  const afterSemicolon = text.slice(1).trimStart()
  const name = TOKEN.exec(afterSemicolon)?.[0]
  if (name === undefined) return undefined
  const afterName = afterSemicolon.slice(name.length).trimStart()
  if (!afterName.startsWith('=')) return undefined
  const valueText = afterName.slice(1).trimStart()
  const value = valueText.startsWith('"') ? readQuoted(valueText) : readToken(valueText)
  return value === undefined ? undefined : { name: name.toLowerCase(), ...value }
}

function readToken(text: string): { value: string; rest: string } | undefined {
  const value = TOKEN.exec(text)?.[0]
  return value === undefined ? undefined : { value, rest: text.slice(value.length) }
}

/** A backslash that escapes nothing special stays: old browsers send Windows paths unescaped. */
function readQuoted(text: string): { value: string; rest: string } | undefined {
  let value = ''
  for (let i = 1; i < text.length; i++) {
    const c = text.charAt(i)
    if (c === '"') return { value, rest: text.slice(i + 1) }
    if (c === '\r' || c === '\n') return undefined
    if (c === '\\' && TSPECIAL.test(text.charAt(i + 1))) value += text.charAt(++i)
    else value += c
  }
  return undefined
}

/** RFC 2231: `name*`, `name*0`, `name*0*` become `name`. */
function joinContinuations(given: ReadonlyMap<string, string>): Map<string, string> {
  const joined = new Map<string, string>()
  const split = new Set<string>()
  for (const [name, value] of given) {
    const star = name.indexOf('*')
    if (star < 0) joined.set(name, value)
    else split.add(name.slice(0, star))
  }
  for (const name of split) {
    const value = given.has(`${name}*`)
      ? decodeCharset(given.get(`${name}*`) ?? '')
      : joinPieces(given, name)
    if (value !== undefined) joined.set(name, value)
  }
  return joined
}

function joinPieces(given: ReadonlyMap<string, string>, name: string): string | undefined {
  let value: string | undefined
  for (let n = 0; ; n++) {
    const plain = given.get(`${name}*${n}`)
    const encoded = given.get(`${name}*${n}*`)
    if (plain !== undefined) value = (value ?? '') + plain
    else if (encoded !== undefined)
      value = (value ?? '') + ((n === 0 ? decodeCharset(encoded) : percentDecode(encoded)) ?? '')
    else return value
  }
}

/** `utf-8'en'a%20b`; undefined for other charsets and bad escapes. */
function decodeCharset(text: string): string | undefined {
  const match = /^([^']*)'[^']*'(.*)$/s.exec(text)
  const charset = match?.[1]?.toLowerCase()
  if (charset !== 'us-ascii' && charset !== 'utf-8') return undefined
  return percentDecode(match?.[2] ?? '')
}

function percentDecode(text: string): string | undefined {
  if (/%(?![0-9A-Fa-f]{2})/.test(text)) return undefined
  return text.replace(/%(..)/g, (_all, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  )
}
