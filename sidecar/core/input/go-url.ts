/**
 * Go's net/url rules for paths and queries, as opa-envoy-plugin applies them; not WHATWG's, not `decodeURIComponent`.
 * Bad escapes throw ERR_INPUT_INVALID, and so does `;` in a query: the plugin refuses both with 400.
 * Bytes that are no UTF-8 become U+FFFD, since the policy's input is JSON.
 */
import { MeshError } from '../../../common/errors.ts'

const PERCENT = 0x25
const PLUS = 0x2b
const SPACE = 0x20

/** `/a%2Fb` → `['a', 'b']`: cut at `?`, decoded, all leading slashes trimmed, split. */
export function parsePath(path: string): string[] {
  return percentDecode(cut(path, '?')[0], false).replace(/^\/+/, '').split('/')
}

/** Values by name, in order. A name without `=` has the value ''. */
export function parseQuery(query: string): Record<string, string[]> {
  const values = new Map<string, string[]>()
  for (const pair of query.split('&')) {
    if (pair === '') continue
    if (pair.includes(';')) throw invalid('invalid semicolon separator in query')
    const [rawName, rawValue] = cut(pair, '=')
    const name = percentDecode(rawName, true)
    const value = percentDecode(rawValue, true)
    const list = values.get(name)
    if (list === undefined) values.set(name, [value])
    else list.push(value)
  }
  return Object.fromEntries(values)
}

/** The text before and after the first separator; the second is '' when there is none. */
export function cut(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator)
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + separator.length)]
}

function percentDecode(text: string, plusIsSpace: boolean): string {
  if (!text.includes('%')) return plusIsSpace ? text.replaceAll('+', ' ') : text
  const bytes = Buffer.from(text)
  let length = 0
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i]
    if (byte === PERCENT) {
      const digits = bytes.toString('latin1', i + 1, i + 3)
      if (!/^[0-9A-Fa-f]{2}$/.test(digits)) throw invalid(`invalid URL escape "%${digits}"`)
      bytes[length++] = Number.parseInt(digits, 16)
      i += 2
    } else bytes[length++] = plusIsSpace && byte === PLUS ? SPACE : (byte ?? 0)
  }
  return bytes.toString('utf8', 0, length)
}

function invalid(message: string): MeshError {
  return new MeshError('ERR_INPUT_INVALID', message)
}
