/**
 * OPA's sprintf: Go's fmt verbs that policies use, over strings, integers, floats and everything else as Rego text.
 * What isn't done exactly as Go does it throws, which ends the evaluation as an error: a wrong text could decide wrongly.
 * Source: OPA topdown/strings.go (operands), Go package fmt (verbs).
 */

import { entriesOf, RegoNumber, RegoSet } from '../rego-value.ts'

interface Spec {
  /** The verb as written, `%-5d`. */
  readonly text: string
  readonly flags: string
  readonly width: number
  /** Undefined: not given. */
  readonly precision: number | undefined
  readonly verb: string
}

const VERB = /%[-+0]*\d*(?:\.\d*)?[a-zA-Z%]/g

export function sprintf(format: string, values: readonly unknown[]): string {
  let used = 0
  const text = format.replace(VERB, (verb) => {
    if (verb === '%%') return '%'
    return used < values.length ? formatOne(toSpec(verb), values[used++]) : missing(verb)
  })
  if (format.replace(VERB, '').includes('%')) throw unsupported(format)
  return used < values.length ? text + extra(values.slice(used)) : text
}

function toSpec(text: string): Spec {
  const [, flags = '', width, precision, verb = ''] =
    /^%([-+0]*)(\d*)(?:\.(\d*))?(.)$/.exec(text) ?? []
  return {
    text,
    flags,
    width: Number(width),
    precision: precision === undefined ? undefined : Number(precision),
    verb,
  }
}

function formatOne(spec: Spec, value: unknown): string {
  if (value instanceof RegoNumber) throw unsupported(`a number written ${value.text}`)
  if (isInteger(value)) return pad(spec, integer(spec, BigInt(value)))
  if (typeof value === 'number') return pad(spec, float(spec, value))
  return pad(spec, string(spec, typeof value === 'string' ? value : regoText(value)))
}

function isInteger(value: unknown): value is number | bigint {
  return typeof value === 'bigint' || Number.isSafeInteger(value)
}

const EXPONENT_FROM = 6
const RADIX: Readonly<Record<string, number>> = { b: 2, o: 8, d: 10, v: 10, x: 16, X: 16 }

function integer(spec: Spec, value: bigint): string {
  const isBig = BigInt.asIntN(64, value) !== value
  const radix = isBig && spec.verb === 's' ? 10 : RADIX[spec.verb]
  if (radix === undefined) return wrongVerb(spec, value, isBig ? '' : 'st')
  if (isPlusV(spec) || isPaddedOtherwise(spec, isBig)) throw unsupported(spec.text)
  const sign = value < 0n ? '-' : spec.flags.includes('+') ? '+' : ''
  const digits = (value < 0n ? -value : value).toString(radix).padStart(spec.precision ?? 0, '0')
  return sign + (spec.verb === 'X' ? digits.toUpperCase() : digits)
}

/** A precision of zero, beside the flag 0, or of a big integer. */
function isPaddedOtherwise({ precision, flags }: Spec, isBig: boolean): boolean {
  return precision !== undefined && (precision === 0 || isBig || flags.includes('0'))
}

/** To Go, %+v is another flag than a plus. */
function isPlusV({ verb, flags }: Spec): boolean {
  return verb === 'v' && flags.includes('+')
}

function float(spec: Spec, value: number): string {
  if (!Number.isFinite(value)) throw unsupported('a number beyond a double')
  if (isPlusV(spec)) throw unsupported(spec.text)
  const sign = value > 0 && spec.flags.includes('+') ? '+' : ''
  if (spec.verb === 'f' && Math.abs(value) < 1e21) return sign + fixed(value, spec.precision ?? 6)
  if ('vg'.includes(spec.verb) && spec.precision === undefined) return sign + shortest(value)
  return wrongVerb(spec, value, 'dst')
}

/** Go rounds an exact half to the even digit, JavaScript away from zero. */
function fixed(value: number, digits: number): string {
  if (digits > 70) throw unsupported('a precision beyond 70')
  const exact = value.toFixed(digits + 30)
  const isHalf = /^50*$/.test(exact.slice(-30))
  const cut = exact.slice(0, -30).replace(/\.$/, '')
  return isHalf && /[02468]$/.test(cut) ? cut : value.toFixed(digits)
}

/** Go's %v and %g: exponents below -4 and from 6 on are written, with two digits at least. */
function shortest(value: number): string {
  const [digits = '', exponent = ''] = value.toExponential().split('e')
  if (Number(exponent) >= -4 && Number(exponent) < EXPONENT_FROM) return String(value)
  return `${digits}e${exponent.replace(/^([+-])(\d)$/, '$10$2')}`
}

function string(spec: Spec, value: string): string {
  const cut = spec.precision === undefined ? value : [...value].slice(0, spec.precision).join('')
  switch (spec.verb) {
    case 's':
    case 'v':
      return cut
    case 'q':
      if (spec.flags.includes('+')) throw unsupported(spec.text)
      return quote(cut)
    case 'x':
      // Go's precision counts bytes here.
      if (spec.precision !== undefined) throw unsupported(spec.text)
      return Buffer.from(value).toString('hex')
    default:
      return wrongVerb(spec, value, 'dtfge')
  }
}

/** Go's strconv.Quote writes what can't be printed in another form than JSON. */
const UNPRINTABLE = /[^ \p{L}\p{M}\p{N}\p{P}\p{S}\b\f\n\r\t]/u

function quote(value: string): string {
  if (UNPRINTABLE.test(value)) throw unsupported('quoting what cannot be printed')
  return JSON.stringify(value)
}

/** Go names the mistake in the text: `%!d(string=ab)`. Where a width would format it again, we give up. */
function wrongVerb(spec: Spec, value: unknown, known: string): string {
  if (spec.text.length > 2 || !known.includes(spec.verb)) throw unsupported(spec.text)
  return `%!${spec.verb}(${typed(value)})`
}

function missing(verb: string): string {
  if (verb.length > 2) throw unsupported(verb)
  return `%!${verb.slice(1)}(MISSING)`
}

function extra(values: readonly unknown[]): string {
  return `%!(EXTRA ${values.map(typed).join(', ')})`
}

function typed(value: unknown): string {
  if (value instanceof RegoNumber) throw unsupported(`a number written ${value.text}`)
  if (isInteger(value)) return `int64=${value}`
  if (typeof value === 'number') return `float64=${shortest(value)}`
  return `string=${typeof value === 'string' ? value : regoText(value)}`
}

function pad(spec: Spec, value: string): string {
  const room = spec.width - [...value].length
  if (room <= 0) return value
  if (spec.flags.includes('-')) return value + ' '.repeat(room)
  if (!spec.flags.includes('0')) return ' '.repeat(room) + value
  const sign = /^[+-]/.exec(value)?.[0] ?? ''
  return sign + '0'.repeat(room) + value.slice(sign.length)
}

/** Rego's own text: `{"a": 1, "b": [true, null]}`, `{1, 2}`, `set()`; in Rego's order. */
function regoText(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(regoText).join(', ')}]`
  if (value instanceof RegoSet)
    return value.items.length === 0 ? 'set()' : `{${value.items.map(regoText).join(', ')}}`
  if (value instanceof RegoNumber) return value.text
  if (typeof value === 'string') return quote(value)
  if (typeof value !== 'object' || value === null) return String(value)
  return `{${entriesOf(value)
    .map(([k, v]) => `${regoText(k)}: ${regoText(v)}`)
    .join(', ')}}`
}

function unsupported(what: string): RangeError {
  return new RangeError(`sprintf: ${what} is not supported`)
}
