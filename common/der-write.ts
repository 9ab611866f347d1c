/**
 * Builds DER from values: the counterpart of der.ts. In: values; out: bytes in their only (canonical) encoding.
 * Source: ITU-T X.690 §10, RFC 5280 §4.1.2.5 (times).
 */
import { TAG } from './der.ts'

/** Any value: tag, minimal length, the parts joined. */
export function der(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  const lengthBytes: number[] = []
  if (length < 0x80) lengthBytes.push(length)
  else {
    for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) lengthBytes.unshift(rest % 256)
    lengthBytes.unshift(0x80 | lengthBytes.length)
  }
  const bytes = new Uint8Array(1 + lengthBytes.length + length)
  bytes.set([tag, ...lengthBytes])
  let offset = 1 + lengthBytes.length
  for (const part of parts) {
    bytes.set(part, offset)
    offset += part.length
  }
  return bytes
}

export function sequence(...parts: readonly Uint8Array[]): Uint8Array {
  return der(TAG.sequence, ...parts)
}

/** A SET OF one value, the only kind that is needed here (more would have to be sorted). */
export function setOfOne(part: Uint8Array): Uint8Array {
  return der(TAG.set, part)
}

/** `[number]`, constructed: explicit tags and constructed implicit ones. */
export function tagged(number: number, ...parts: readonly Uint8Array[]): Uint8Array {
  return der(0xa0 | number, ...parts)
}

/** `[number]` implicit, primitive. */
export function implicit(number: number, content: Uint8Array): Uint8Array {
  return der(0x80 | number, content)
}

export function oid(dotted: string): Uint8Array {
  const [top = 0n, second = 0n, ...rest] = dotted.split('.').map(BigInt)
  const bytes: number[] = []
  for (const arc of [top * 40n + second, ...rest]) {
    const digits = [Number(arc & 0x7fn)]
    for (let left = arc >> 7n; left > 0n; left >>= 7n) digits.unshift(Number(left & 0x7fn) | 0x80)
    bytes.push(...digits)
  }
  return der(TAG.oid, Uint8Array.from(bytes))
}

/** A non-negative integer of big-endian bytes; leading zeros are dropped, a sign byte is added where needed. */
export function unsignedInteger(magnitude: Uint8Array): Uint8Array {
  const start = magnitude.findIndex((byte) => byte !== 0)
  const digits = start === -1 ? Uint8Array.of(0) : magnitude.subarray(start)
  const needsSign = (digits[0] ?? 0) >= 0x80
  return der(TAG.integer, Uint8Array.from(needsSign ? [0, ...digits] : digits))
}

export function boolean(value: boolean): Uint8Array {
  return der(TAG.boolean, Uint8Array.of(value ? 0xff : 0))
}

export function bitString(bytes: Uint8Array): Uint8Array {
  return der(TAG.bitString, Uint8Array.of(0), bytes)
}

/** A named bit list: trailing zero bits are dropped, as DER demands. */
export function namedBits(bits: readonly number[]): Uint8Array {
  const last = Math.max(...bits)
  const bytes = new Uint8Array(1 + (last >> 3) + 1)
  bytes[0] = 7 - (last & 7)
  for (const bit of bits) bytes[1 + (bit >> 3)] = (bytes[1 + (bit >> 3)] ?? 0) | (0x80 >> (bit & 7))
  return der(TAG.bitString, bytes)
}

export function octetString(bytes: Uint8Array): Uint8Array {
  return der(TAG.octetString, bytes)
}

export function utf8String(text: string): Uint8Array {
  return der(TAG.utf8String, new TextEncoder().encode(text))
}

/** UTCTime through 2049, GeneralizedTime after; fractions of a second are cut off. */
export function time(epochMs: number): Uint8Array {
  const digits = new Date(epochMs).toISOString().replace(/[-:T]|\.\d+/g, '')
  const year = new Date(epochMs).getUTCFullYear()
  const isUtc = year >= 1950 && year < 2050
  const text = isUtc ? digits.slice(2) : digits
  return der(isUtc ? TAG.utcTime : TAG.generalizedTime, new TextEncoder().encode(text))
}
