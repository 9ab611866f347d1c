/**
 * What an app speaks on an inbound port. In: the port. Out: protocol, and whether the server speaks first.
 * Precedence: `protocol`, then `appProtocol` (as in a Kubernetes Service), then the port's name (`http-api`, Istio's
 * habit), then HTTP. What Envoy can't read, TLS of the app's own or a protocol that isn't known, is TCP.
 */
import type { Problem } from '../../../common/errors.ts'
import type { WorkloadEntry, WorkloadEntryInbound } from '../crd/index.ts'
import type { InboundPort, Protocol } from '../model/mesh.ts'
import { refOf } from './objects.ts'

export type AppProtocol = Pick<InboundPort, 'protocol' | 'serverFirst'>

/** Words of `appProtocol` and of port names. Names with a slash are Kubernetes' own, and no port's name. */
const WORDS: Readonly<Record<string, Protocol>> = {
  http: 'HTTP',
  'kubernetes.io/ws': 'HTTP',
  http2: 'HTTP2',
  h2c: 'HTTP2',
  'kubernetes.io/h2c': 'HTTP2',
  grpc: 'GRPC',
  tcp: 'TCP',
  tls: 'TCP',
  https: 'TCP',
  'kubernetes.io/wss': 'TCP',
  mongo: 'TCP',
  postgres: 'TCP',
  postgresql: 'TCP',
  redis: 'TCP',
}

/** Protocols in which the client waits for the server's greeting. */
const SERVER_FIRST: ReadonlySet<string> = new Set(['mysql', 'smtp', 'ftp', 'ssh', 'imap', 'pop3'])

export function readAppProtocol(
  port: Pick<WorkloadEntryInbound, 'name' | 'protocol' | 'appProtocol' | 'serverFirst'>,
): AppProtocol {
  const read = readProtocol(port)
  return { ...read, serverFirst: read.protocol === 'TCP' && (port.serverFirst ?? read.serverFirst) }
}

/** A port that is said to be server-first and, as it turns out, isn't TCP: it stays what it is, client-first. */
export function checkAppProtocol(object: WorkloadEntry, index: number): Problem | undefined {
  const port = object.spec.inbound?.[index]
  if (port?.serverFirst !== true) return undefined
  const { protocol } = readProtocol(port)
  if (protocol === 'TCP') return undefined
  return {
    code: 'ERR_FIELD_VALUE',
    object: refOf(object),
    field: `spec.inbound[${index}].serverFirst`,
    message: `port "${port.name}" speaks ${protocol}, in which the client speaks first`,
    remedy: 'add "protocol: TCP", or remove "serverFirst"',
  }
}

function readProtocol(
  port: Pick<WorkloadEntryInbound, 'name' | 'protocol' | 'appProtocol'>,
): AppProtocol {
  const { name, protocol, appProtocol } = port
  if (protocol !== undefined) return { protocol, serverFirst: false }
  if (appProtocol !== undefined) {
    return byWord(appProtocol.toLowerCase()) ?? { protocol: 'TCP', serverFirst: false }
  }
  const [word = ''] = name.split('-')
  return byWord(word) ?? { protocol: 'HTTP', serverFirst: false }
}

function byWord(word: string): AppProtocol | undefined {
  if (SERVER_FIRST.has(word)) return { protocol: 'TCP', serverFirst: true }
  const protocol = Object.hasOwn(WORDS, word) ? WORDS[word] : undefined
  return protocol === undefined ? undefined : { protocol, serverFirst: false }
}
