/** Addresses and blocks: one reading, canonical text, IPv4-mapped is IPv4. */
import t from 'tap'
import { formatCidr, isInBlock, parseAddress, parseCidr } from '../../../../common/authz/address.ts'

t.test('blocks have one canonical text', async (t) => {
  const texts = [
    ['10.1.2.3/8', '10.0.0.0/8'],
    ['10.1.2.3', '10.1.2.3/32'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['2001:DB8::1/32', '2001:db8::/32'],
    ['::ffff:10.0.0.0/104', '10.0.0.0/8'],
    ['::ffff:1.2.3.4', '1.2.3.4/32'],
    ['::/0', '::/0'],
    ['::ffff:0:0/95', '::fffe:0:0/95'],
  ] as const
  for (const [text, canonical] of texts) {
    const block = parseCidr(text)
    t.equal(block === undefined ? block : formatCidr(block), canonical)
  }
})

t.test('what another parser could read differently is no block', async (t) => {
  const texts = ['', '10', '10.0.0/8', '010.0.0.1', '10.0.0.0/33', '::/129', '10.0.0.0/08']
  for (const text of [...texts, '10.0.0.0/', '/8', '256.0.0.1', 'fe80::1%eth0', '0x0a.0.0.1']) {
    t.equal(parseCidr(text), undefined, text)
  }
})

t.test('membership', async (t) => {
  const isIn = (address: string, text: string) => {
    const [a, b] = [parseAddress(address), parseCidr(text)]
    return a !== undefined && b !== undefined && isInBlock(a, b)
  }
  t.ok(isIn('10.255.0.1', '10.0.0.0/8'))
  t.ok(isIn('::ffff:10.0.0.1', '10.0.0.0/8'))
  t.ok(isIn('10.0.0.129', '10.0.0.128/25'))
  t.notOk(isIn('10.0.0.127', '10.0.0.128/25'))
  t.notOk(isIn('11.0.0.1', '10.0.0.0/8'))
  t.notOk(isIn('10.0.0.1', '::/0'))
  t.notOk(isIn('a00::1', '10.0.0.0/8'))
  t.equal(parseAddress('localhost'), undefined)
})
