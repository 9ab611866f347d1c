/**
 * Credentials in query strings (`?access_token=…`, RFC 6750 §2.3; signed URLs; OAuth codes) never reach a log.
 * In: a path as it was sent. Out: the same with such values replaced, and the names that were. By the end of a name, as
 * for headers: letters of either case, `_`, `-` and `.` between words, percent-encoding undone.
 */
/** What stands in a log in the place of a value that must not be there. */
export const MASK = '[masked]'

/** Short words are common ends of harmless names (`country_code`, `sort_key`): they count alone. */
const SECRET_NAME =
  /^(code|key|sig)$|(^|[-_.])(api[-_.]?key|access[-_.]?key|auth|authorization|assertion|credential|jwt|pass(wd|word)?|pwd|secret|session([-_.]?id)?|signature|token)$/

export interface MaskedPath {
  readonly value: string
  /** As they were sent; each once. */
  readonly names: readonly string[]
}

export function maskQuery(path: string): MaskedPath {
  const at = path.indexOf('?')
  if (at === -1) return { value: path, names: [] }
  const names = new Set<string>()
  const query = path
    .slice(at + 1)
    .split(/([&;])/)
    .map((pair) => {
      const equals = pair.indexOf('=')
      const name = pair.slice(0, equals)
      if (equals === -1 || equals === pair.length - 1 || !isSecretParameter(name)) return pair
      names.add(name)
      return `${name}=${MASK}`
    })
  return { value: `${path.slice(0, at)}?${query.join('')}`, names: [...names] }
}

export function isSecretParameter(name: string): boolean {
  const words = decode(name).replaceAll(/([a-z0-9])([A-Z])|([A-Z])([A-Z][a-z])/g, '$1$3-$2$4')
  return SECRET_NAME.test(words.toLowerCase())
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' ')).trim()
  } catch {
    return text
  }
}
