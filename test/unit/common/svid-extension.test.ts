/** The UID extension: one UID in, the same out; anything else is refused. */
import t from 'tap'
import { DerError } from '../../../common/der.ts'
import { oid, sequence, setOfOne, utf8String } from '../../../common/der-write.ts'
import {
  decodeUidExtension,
  encodeUidExtension,
  UID_ATTRIBUTE_OID,
} from '../../../common/svid-extension.ts'

t.test('reads back the UID', async (t) => {
  for (const uid of ['controller', '0f6e1c1e-1111-4222-8333-444455556666', 'a', 'x'.repeat(128)])
    t.equal(decodeUidExtension(encodeUidExtension(uid)), uid)
})

t.test('refuses what is no UID', async (t) => {
  for (const uid of ['', 'a/b', 'a b', 'ü', 'x'.repeat(129), 'a\n'])
    t.throws(() => encodeUidExtension(uid), DerError, JSON.stringify(uid))
})

t.test('refuses an extension that is not exactly one UID', async (t) => {
  const attribute = (id: string, text: string) => sequence(oid(id), setOfOne(utf8String(text)))
  const good = attribute(UID_ATTRIBUTE_OID, 'a')
  t.throws(() => decodeUidExtension(sequence()), DerError, 'no attribute')
  t.throws(() => decodeUidExtension(sequence(good, good)), DerError, 'two attributes')
  t.throws(() => decodeUidExtension(sequence(attribute('2.5.4.3', 'a'))), DerError, 'another type')
  t.throws(
    () => decodeUidExtension(sequence(attribute(UID_ATTRIBUTE_OID, 'a/b'))),
    DerError,
    'bad uid',
  )
  t.throws(() => decodeUidExtension(Buffer.from('controller')), DerError, 'no DER')
})
