/** DER: what is written is read back; whatever is not strictly DER is refused. */
import t from 'tap'
import {
  DerError,
  readBoolean,
  readChildren,
  readDer,
  readInteger,
  readNamedBits,
  readOid,
  readText,
  readTime,
  TAG,
} from '../../../common/der.ts'
import {
  bitString,
  boolean,
  der,
  namedBits,
  oid,
  sequence,
  time,
  unsignedInteger,
  utf8String,
} from '../../../common/der-write.ts'

const bytes = (...list: number[]) => Uint8Array.from(list)

t.test('reads back what it writes', async (t) => {
  for (const id of ['2.5.29.9', '1.2.840.10045.2.1', '0.9.2342.19200300.100.1.44', '2.999.1'])
    t.equal(readOid(readDer(oid(id))), id)
  const uuid = '2.25.329800735698586629295641978511506172918'
  t.equal(readOid(readDer(oid(uuid))), uuid)
  t.equal(readText(readDer(utf8String('Zürich'))), 'Zürich')
  t.equal(readBoolean(readDer(boolean(true))), true)
  t.same([...readNamedBits(readDer(namedBits([0, 5, 6])))], [0, 5, 6])
  t.same([...readNamedBits(readDer(namedBits([8])))], [8])
  t.same(readInteger(readDer(unsignedInteger(bytes(0, 0, 0x80)))), bytes(0, 0x80))
  t.same(readInteger(readDer(unsignedInteger(bytes(0)))), bytes(0))
  for (const length of [0, 1, 127, 128, 255, 256, 65_535, 65_536])
    t.equal(readDer(der(TAG.octetString, new Uint8Array(length))).content.length, length)
})

t.test('writes times as RFC 5280 wants them', async (t) => {
  for (const iso of [
    '2026-11-24T08:00:00.000Z',
    '2049-12-31T23:59:59.000Z',
    '2050-01-01T00:00:00.000Z',
  ]) {
    const encoded = time(Date.parse(iso))
    t.equal(encoded[0], iso < '2050' ? TAG.utcTime : TAG.generalizedTime)
    t.equal(readTime(readDer(encoded)), Date.parse(iso))
  }
})

t.test('refuses what is not strictly DER', async (t) => {
  const cases: Record<string, () => unknown> = {
    'nothing at all': () => readDer(bytes()),
    'a cut-off value': () => readDer(bytes(0x04, 0x02, 0x00)),
    'trailing bytes': () => readDer(bytes(0x05, 0x00, 0x00)),
    'an indefinite length': () => readDer(bytes(0x30, 0x80, 0x00, 0x00)),
    'a length that is not minimal': () => readDer(bytes(0x04, 0x81, 0x01, 0x00)),
    'a length with a leading zero': () =>
      readDer(bytes(0x04, 0x82, 0x00, 0x80, ...Array(128).fill(0))),
    'a length of four bytes': () => readDer(bytes(0x04, 0x84, 0, 0, 0, 1, 0)),
    'a long tag': () => readDer(bytes(0x1f, 0x81, 0x01, 0x00)),
    'a wrong tag': () => readChildren(readDer(bytes(0x31, 0x00)), TAG.sequence),
    'a missing value': () => readOid(undefined),
    'a boolean that is neither 0 nor ff': () => readBoolean(readDer(bytes(0x01, 0x01, 0x01))),
    'an integer with a spare zero': () => readInteger(readDer(bytes(0x02, 0x02, 0x00, 0x01))),
    'an integer with a spare ff': () => readInteger(readDer(bytes(0x02, 0x02, 0xff, 0x80))),
    'an empty integer': () => readInteger(readDer(bytes(0x02, 0x00))),
    'an identifier that is cut off': () => readOid(readDer(bytes(0x06, 0x01, 0x81))),
    'an identifier with a leading 80': () => readOid(readDer(bytes(0x06, 0x02, 0x80, 0x01))),
    'an empty identifier': () => readOid(readDer(bytes(0x06, 0x00))),
    'bits of no bytes': () => readNamedBits(readDer(bytes(0x03, 0x00))),
    'text that is not UTF-8': () => readText(readDer(bytes(0x0c, 0x01, 0xff))),
    'ASCII with a NUL': () => readText(readDer(bytes(0x16, 0x02, 0x61, 0x00))),
    'a number as text': () => readText(readDer(bytes(0x02, 0x01, 0x00))),
    'a 31st of February': () => readTime(readDer(der(TAG.utcTime, Buffer.from('260231000000Z')))),
    'a time without seconds': () => readTime(readDer(der(TAG.utcTime, Buffer.from('2602010000Z')))),
    'a time with an offset': () =>
      readTime(readDer(der(TAG.generalizedTime, Buffer.from('20260201000000+0100')))),
    'a time of another type': () => readTime(readDer(bitString(bytes()))),
  }
  for (const [name, read] of Object.entries(cases)) t.throws(read, DerError, name)
})

t.test('keeps the bytes that it was given', async (t) => {
  const inner = utf8String('x')
  const [child] = readChildren(readDer(sequence(inner)), TAG.sequence)
  t.same(child?.bytes, inner)
})
