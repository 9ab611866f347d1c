/**
 * Strict DER, the small part that certificates and requests need. In: bytes; out: values that keep their own bytes.
 * Own code rather than a library's, because signatures are over the exact bytes received, and because whatever is not
 * strictly DER (long tags, indefinite or non-minimal lengths, trailing bytes) must be refused, never repaired.
 * Reading throws DerError only. Source: ITU-T X.690 §8, §10.
 */

export class DerError extends Error {
  override readonly name = 'DerError'
}

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  utf8String: 0x0c,
  printableString: 0x13,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const

export interface DerValue {
  readonly tag: number
  /** Without tag and length. */
  readonly content: Uint8Array
  /** Tag, length and content, as received. */
  readonly bytes: Uint8Array
}

/** The one value that `bytes` is; trailing bytes are refused. */
export function readDer(bytes: Uint8Array): DerValue {
  const value = readAt(bytes, 0)
  if (value.bytes.length !== bytes.length) throw new DerError('trailing bytes after a DER value')
  return value
}

/** The values inside a constructed value of this tag, in order. */
export function readChildren(value: DerValue | undefined, tag: number): DerValue[] {
  const content = contentOf(value, tag)
  const children: DerValue[] = []
  let offset = 0
  while (offset < content.length) {
    const child = readAt(content, offset)
    children.push(child)
    offset += child.bytes.length
  }
  return children
}

/** The content of a value that must have this tag. */
export function contentOf(value: DerValue | undefined, tag: number): Uint8Array {
  if (value === undefined) throw new DerError('a DER value is missing')
  if (value.tag !== tag) throw new DerError(`DER tag ${value.tag} where ${tag} is due`)
  return value.content
}

function readAt(bytes: Uint8Array, start: number): DerValue {
  const tag = byteAt(bytes, start)
  if ((tag & 0x1f) === 0x1f) throw new DerError('DER tag of more than one byte')
  const first = byteAt(bytes, start + 1)
  let length = first
  let offset = start + 2
  if (first >= 0x80) {
    const count = first & 0x7f
    if (count === 0 || count > 3) throw new DerError('DER length is indefinite or too large')
    length = 0
    for (let i = 0; i < count; i++) length = length * 256 + byteAt(bytes, offset + i)
    if (length < 0x80 || length < 256 ** (count - 1)) throw new DerError('DER length not minimal')
    offset += count
  }
  const end = offset + length
  if (end > bytes.length) throw new DerError('DER value is cut off')
  return { tag, content: bytes.subarray(offset, end), bytes: bytes.subarray(start, end) }
}

function byteAt(bytes: Uint8Array, offset: number): number {
  const byte = bytes[offset]
  if (byte === undefined) throw new DerError('DER value is cut off')
  return byte
}

/** Dotted decimal. Arcs of any size: others' extensions may carry UUID arcs. */
export function readOid(value: DerValue | undefined): string {
  const content = contentOf(value, TAG.oid)
  if (content.length === 0 || content.length > 64) throw new DerError('bad object identifier')
  const arcs: bigint[] = []
  let arc = 0n
  let atStart = true
  for (const byte of content) {
    if (atStart && byte === 0x80) throw new DerError('object identifier not minimal')
    arc = (arc << 7n) | BigInt(byte & 0x7f)
    atStart = byte < 0x80
    if (!atStart) continue
    arcs.push(arc)
    arc = 0n
  }
  if (!atStart) throw new DerError('object identifier is cut off')
  const [head = 0n, ...rest] = arcs
  const top = head < 40n ? 0n : head < 80n ? 1n : 2n
  return [top, head - top * 40n, ...rest].join('.')
}

/** Two's complement, big endian, minimal, at least one byte. */
export function readInteger(value: DerValue | undefined): Uint8Array {
  const content = contentOf(value, TAG.integer)
  const [first, second] = content
  if (first === undefined) throw new DerError('empty integer')
  if (
    second !== undefined &&
    ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80))
  )
    throw new DerError('integer not minimal')
  return content
}

export function readBoolean(value: DerValue | undefined): boolean {
  const content = contentOf(value, TAG.boolean)
  if (content.length !== 1 || (content[0] !== 0 && content[0] !== 0xff))
    throw new DerError('bad boolean')
  return content[0] === 0xff
}

/** A bit string of whole bytes, as keys and signatures are. */
export function readBitString(value: DerValue | undefined): Uint8Array {
  const content = contentOf(value, TAG.bitString)
  if (content[0] !== 0) throw new DerError('bit string does not end on a byte')
  return content.subarray(1)
}

/** Numbers of the bits that are set; bit 0 is the first. Source: X.680 §22 (named bit lists). */
export function readNamedBits(value: DerValue | undefined): ReadonlySet<number> {
  const content = contentOf(value, TAG.bitString)
  const unused = content[0]
  if (unused === undefined || unused > 7) throw new DerError('bad bit string')
  const bits = new Set<number>()
  for (let bit = 0; bit < (content.length - 1) * 8 - unused; bit++) {
    if ((byteAt(content, 1 + (bit >> 3)) & (0x80 >> (bit & 7))) !== 0) bits.add(bit)
  }
  return bits
}

/** UTF8String, PrintableString or IA5String (which must be ASCII), as text. */
export function readText(value: DerValue | undefined): string {
  const isUtf8 = value?.tag === TAG.utf8String
  if (!isUtf8 && value?.tag !== TAG.printableString && value?.tag !== TAG.ia5String)
    throw new DerError('not a string')
  const { content } = value
  return isUtf8 ? decodeUtf8(content) : decodeAscii(content)
}

export function decodeUtf8(content: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(content)
  } catch {
    throw new DerError('string is not UTF-8')
  }
}

/** IA5 text: ASCII without control characters, which no name in a certificate needs. */
export function decodeAscii(content: Uint8Array): string {
  if (content.some((byte) => byte < 0x20 || byte > 0x7e)) throw new DerError('string is not ASCII')
  return String.fromCharCode(...content)
}

/** Epoch milliseconds. Source: RFC 5280 §4.1.2.5: seconds, `Z`, no fractions. */
export function readTime(value: DerValue | undefined): number {
  const text = decodeAscii(
    contentOf(value, value?.tag === TAG.utcTime ? TAG.utcTime : TAG.generalizedTime),
  )
  const isUtc = value?.tag === TAG.utcTime
  if (!(isUtc ? /^\d{12}Z$/ : /^\d{14}Z$/).test(text)) throw new DerError('bad time')
  const full = isUtc ? `${Number(text.slice(0, 2)) >= 50 ? '19' : '20'}${text}` : text
  const [, y, mo, d, h, mi, s] = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(full) ?? []
  const iso = `${y}-${mo}-${d}T${h}:${mi}:${s}.000Z`
  const ms = Date.parse(iso)
  if (Number.isNaN(ms) || new Date(ms).toISOString() !== iso) throw new DerError('bad time')
  return ms
}
