import t from 'tap'
import {
  checkAppProtocol,
  readAppProtocol,
} from '../../../../../controller/core/translate/app-protocol.ts'
import { makeWorkloadEntry } from '../../../../kit/objects.ts'

const CASES: readonly [Parameters<typeof readAppProtocol>[0], string][] = [
  [{ name: 'web' }, 'HTTP'],
  [{ name: 'http' }, 'HTTP'],
  [{ name: 'http-api' }, 'HTTP'],
  [{ name: 'http2-api' }, 'HTTP2'],
  [{ name: 'grpc' }, 'GRPC'],
  [{ name: 'grpc-orders' }, 'GRPC'],
  [{ name: 'tcp-sql' }, 'TCP'],
  [{ name: 'https' }, 'TCP'],
  [{ name: 'mysql' }, 'TCP, server first'],
  [{ name: 'mysql-orders', serverFirst: false }, 'TCP'],
  [{ name: 'tcp-greeting', serverFirst: true }, 'TCP, server first'],
  [{ name: 'constructor' }, 'HTTP'],
  [{ name: 'grpcx' }, 'HTTP'],
  [{ name: 'grpc', protocol: 'TCP' }, 'TCP'],
  [{ name: 'mysql', protocol: 'TCP' }, 'TCP'],
  [{ name: 'grpc', appProtocol: 'http' }, 'HTTP'],
  [{ name: 'grpc', appProtocol: 'smtp' }, 'TCP, server first'],
  [{ name: 'a', appProtocol: 'kubernetes.io/h2c' }, 'HTTP2'],
  [{ name: 'a', appProtocol: 'kubernetes.io/ws' }, 'HTTP'],
  [{ name: 'a', appProtocol: 'kubernetes.io/wss' }, 'TCP'],
  [{ name: 'a', appProtocol: 'HTTPS' }, 'TCP'],
  [{ name: 'http', appProtocol: 'example.com/own' }, 'TCP'],
  [{ name: 'http', appProtocol: 'toString' }, 'TCP'],
  [{ name: 'a', appProtocol: 'smtp', protocol: 'HTTP' }, 'HTTP'],
]

t.test('protocol, then appProtocol, then the name, then HTTP', async (t) => {
  for (const [port, wanted] of CASES) {
    const { protocol, serverFirst } = readAppProtocol(port)
    t.equal(`${protocol}${serverFirst ? ', server first' : ''}`, wanted, JSON.stringify(port))
  }
})

t.test('a server-first port that is no TCP is a problem', async (t) => {
  const entryOf = (port: Parameters<typeof readAppProtocol>[0]) => {
    const entry = makeWorkloadEntry('orders')
    const inbound = [{ port: 1, appPort: 2, appAddress: '127.0.0.1', ...port }]
    return { ...entry, spec: { ...entry.spec, inbound } }
  }
  t.match(checkAppProtocol(entryOf({ name: 'http', serverFirst: true }), 0), {
    code: 'ERR_FIELD_VALUE',
    field: 'spec.inbound[0].serverFirst',
  })
  t.equal(checkAppProtocol(entryOf({ name: 'tcp', serverFirst: true }), 0), undefined)
  t.equal(checkAppProtocol(entryOf({ name: 'http' }), 0), undefined)
  t.equal(checkAppProtocol(entryOf({ name: 'http' }), 1), undefined)
})
