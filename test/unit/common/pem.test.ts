import { X509Certificate } from 'node:crypto'
import t from 'tap'
import { toPem } from '../../../common/pem.ts'
import { makeCa } from '../../kit/identity.ts'

t.test('OpenSSL reads back what went in', async (t) => {
  const { der } = (await makeCa()).root
  const pem = toPem(der)
  t.same(new Uint8Array(new X509Certificate(pem).raw), new Uint8Array(der))
  t.equal(pem, new X509Certificate(der).toString(), 'to the letter')
})
