import t from 'tap'
import {
  formatCidr,
  formatIp,
  isLoopbackIp,
  maskCidr,
  parseCidr,
  parseIp,
} from '../../../../../controller/core/crd/net.ts'

t.test('reads addresses as Go net/netip does', async (t) => {
  const good = [
    '0.0.0.0',
    '255.255.255.255',
    '::',
    '::1',
    '1::',
    '2001:db8::1',
    '1:2:3:4:5:6:7:8',
    '64:ff9b::192.0.2.33',
  ]
  const bad = [
    '',
    '1.2.3',
    '1.2.3.4.5',
    '256.1.1.1',
    '01.2.3.4',
    '1.2.3.4 ',
    '0x1.2.3.4',
    '1',
    ':::',
    '1::2::3',
    '12345::',
    'fe80::1%eth0',
    '::ffff:1.2.3.4',
    '::FFFF:102:304',
    '::1.2.3',
    '::01.2.3.4',
    '1:2:3:4:5:6:7',
    '[::1]',
    'g::',
  ]
  for (const text of good) t.ok(parseIp(text), text)
  for (const text of bad) t.equal(parseIp(text), undefined, text)
})

t.test('tells loopback as netip.Addr.IsLoopback does', async (t) => {
  const isLoopback = (text: string) => {
    const address = parseIp(text)
    return address !== undefined && isLoopbackIp(address)
  }
  for (const text of ['127.0.0.1', '127.255.255.255', '::1', '0:0::1']) t.ok(isLoopback(text), text)
  for (const text of ['126.0.0.1', '128.0.0.1', '0.0.0.0', '::', '::2', '::127.0.0.1', '10.0.0.1'])
    t.notOk(isLoopback(text), text)
})

t.test('reads and masks blocks', async (t) => {
  for (const text of [
    '10.0.0.0',
    '10.0.0.0/',
    '10.0.0.0/08',
    '10.0.0.0/-1',
    '10.0.0.0/33',
    '::/129',
    'a/8',
    '/8',
    '10.0.0.0/8/8',
  ]) {
    t.equal(parseCidr(text), undefined, text)
  }
  const masked = (text: string) => {
    const block = parseCidr(text)
    return block && formatCidr(maskCidr(block))
  }
  t.equal(masked('10.255.255.255/8'), '10.0.0.0/8')
  t.equal(masked('10.255.255.255/12'), '10.240.0.0/12')
  t.equal(masked('10.1.2.3/0'), '0.0.0.0/0')
  t.equal(masked('10.1.2.3/32'), '10.1.2.3/32')
  t.equal(masked('2001:db8:ffff::1/33'), '2001:db8:8000::/33')
  const ip = parseIp('2001:0DB8::0001')
  t.equal(ip && formatIp(ip), '2001:db8::1')
})
