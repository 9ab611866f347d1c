/** What the flags of `explain request` mean. */
import t from 'tap'
import type { Grounds } from '../../../../cli/explain/asked.ts'
import { type RequestFlags, readAsked } from '../../../../cli/explain/request.ts'

const flags: RequestFlags = {
  ...{ from: 'none', to: 'orders', port: '8080', method: 'GET', path: '/', header: [] },
  ...{ sourceIp: '127.0.0.1', namespace: 'shop', state: '.', output: 'table' },
}
const grounds = {
  workload: 'shop/orders',
  service: 'shop/orders',
  versions: [],
} as unknown as Grounds

t.test('the caller’s address is an address', async (t) => {
  t.match(await readAsked(flags, grounds), { sourceAddress: '127.0.0.1' })
  t.match(await readAsked({ ...flags, sourceIp: 'fd00::1' }, grounds), { sourceAddress: 'fd00::1' })
  for (const sourceIp of ['300.1.1.1', 'localhost', '10.0.0.0/8', ''])
    await t.rejects(readAsked({ ...flags, sourceIp }, grounds), {
      code: 'ERR_CONFIG',
      message: `--source-ip ${sourceIp} is no IP address`,
    })
})
