/**
 * time.now_ns and its readers, in UTC: clock, date, weekday, parse_rfc3339_ns, parse_duration_ns.
 * Nanoseconds are 64-bit integers (bigint here). Other zones and layouts are not here yet: such a call ends the
 * evaluation as an error. Source: OPA topdown/time.go; RFC 3339; Go time.ParseDuration.
 */
import { type Builtin, BuiltinError, bigintOperand, stringOperand } from './builtin.ts'

const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday']
const NS_PER_MS = 1_000_000n
const MAX_NS = 2n ** 63n - 1n
const RFC3339 =
  /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(?:Z|([+-])(\d\d):(\d\d))$/
const UNIT_NS: Readonly<Record<string, bigint>> = {
  ns: 1n,
  us: 1_000n,
  µs: 1_000n,
  μs: 1_000n,
  ms: NS_PER_MS,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
}

export const timeBuiltins: Readonly<Record<string, Builtin>> = {
  'time.now_ns': (context) => context.nowNs,
  'time.clock': (_c, time) => {
    const d = toDate(time)
    return [d.getUTCHours(), d.getUTCMinutes(), d.getUTCSeconds()]
  },
  'time.date': (_c, time) => {
    const d = toDate(time)
    return [d.getUTCFullYear(), d.getUTCMonth() + 1, d.getUTCDate()]
  },
  'time.weekday': (_c, time) => DAYS[toDate(time).getUTCDay()],
  'time.parse_rfc3339_ns': (_c, text) => parseRfc3339(stringOperand(text)),
  'time.parse_duration_ns': (_c, text) => parseDuration(stringOperand(text)),
}

/** A number of nanoseconds, or `[ns, zone]` with UTC. */
function toDate(operand: unknown): Date {
  const [ns, zone] = Array.isArray(operand) ? operand : [operand, 'UTC']
  if (zone !== 'UTC' && zone !== '')
    throw new RangeError('time zones other than UTC are not supported')
  const value = inRange(bigintOperand(ns))
  const ms = value / NS_PER_MS - (value % NS_PER_MS < 0n ? 1n : 0n)
  return new Date(Number(ms))
}

function parseRfc3339(text: string): bigint {
  const match = RFC3339.exec(text)
  if (match === null) throw new BuiltinError('not an RFC 3339 time')
  const at = (group: number) => Number(match[group] ?? 0)
  const [year, month, day, hour, minute, second] = [at(1), at(2), at(3), at(4), at(5), at(6)]
  const date = new Date(0)
  date.setUTCFullYear(year, month - 1, day)
  const isDay = date.getUTCMonth() === month - 1 && date.getUTCDate() === day
  const [offsetHour, offsetMinute] = [at(9), at(10)]
  if (!isDay || hour > 23 || minute > 59 || second > 59 || offsetHour > 24 || offsetMinute > 59)
    throw new BuiltinError('time is out of range')
  const offset = (match[8] === '-' ? -1 : 1) * (offsetHour * 60 + offsetMinute) * 60
  const seconds = date.getTime() / 1000 + hour * 3600 + minute * 60 + second - offset
  const fraction = BigInt((match[7] ?? '').slice(0, 9).padEnd(9, '0'))
  return inRange(BigInt(seconds) * 1_000_000_000n + fraction)
}

/** `1h15m30.918s`, `-1.5h`, `0`. */
function parseDuration(text: string): bigint {
  if (/[dwy]/.test(text)) throw new RangeError('durations in days, weeks, years are not supported')
  // One way only to read a run of digits: two would take quadratic time.
  const match = /^([+-]?)((?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+|0)$/.exec(text)
  if (match?.[2] === undefined) throw new BuiltinError('not a duration')
  let ns = 0n
  for (const [, whole = '', fraction = '', unit = ''] of match[2].matchAll(
    /(\d*)\.?(\d*)(ns|us|µs|μs|ms|s|m|h)/g,
  )) {
    const scale = UNIT_NS[unit] ?? 0n
    const digits = fraction.slice(0, 18)
    ns += BigInt(whole === '' ? '0' : whole) * scale
    ns += (BigInt(digits === '' ? '0' : digits) * scale) / 10n ** BigInt(digits.length)
  }
  return inRange(match[1] === '-' ? -ns : ns)
}

function inRange(ns: bigint): bigint {
  if (ns > MAX_NS || ns < -MAX_NS - 1n) throw new BuiltinError('time is out of range')
  return ns
}
