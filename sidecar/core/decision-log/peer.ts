/**
 * Who a log entry is about. In: an entry's common properties. Out: the peer and the port that it called.
 * From the connection itself, or, where a server-first port was decided behind it (controller/core/xds/server-first.ts),
 * from the filter state that the connection handed on.
 */
import type { Any } from '@bufbuild/protobuf/wkt'
import { anyUnpack, StringValueSchema } from '@bufbuild/protobuf/wkt'
import { PEER_STATE } from '../../../common/xds.ts'
import type { Address } from '../../../proto/gen/envoy/config/core/v3/address_pb.js'
import type { AccessLogCommon } from '../../../proto/gen/envoy/data/accesslog/v3/accesslog_pb.js'

export interface LoggedPeer {
  /** The peer's own IP address. */
  readonly address?: string
  /** `address:port`. */
  readonly socket?: string
  /** URI SANs of its certificate, joined by commas. */
  readonly principal?: string
  /** The inbound port that it called. */
  readonly calledPort?: number
}

export function readLoggedPeer(common: AccessLogCommon): LoggedPeer {
  return common.filterStateObjects[PEER_STATE.port] === undefined
    ? fromConnection(common)
    : fromState(common.filterStateObjects)
}

function fromConnection(common: AccessLogCommon): LoggedPeer {
  const direct = socketOf(common.downstreamDirectRemoteAddress)
  const remote = direct ?? socketOf(common.downstreamRemoteAddress)
  const local = socketOf(common.downstreamLocalAddress)
  const names = common.tlsProperties?.peerCertificateProperties?.subjectAltName ?? []
  const uris = names.flatMap(({ san }) => (san.case === 'uri' ? [san.value] : []))
  return {
    ...(direct === undefined ? {} : { address: direct.address }),
    ...(remote === undefined ? {} : { socket: `${remote.address}:${remote.port}` }),
    ...(uris.length === 0 ? {} : { principal: uris.join(',') }),
    ...(local === undefined ? {} : { calledPort: local.port }),
  }
}

function fromState(state: AccessLogCommon['filterStateObjects']): LoggedPeer {
  const read = (key: string) => textOf(state[key])
  const [address, socket, principal] = [
    read(PEER_STATE.address),
    read(PEER_STATE.socket),
    read(PEER_STATE.uriSan),
  ]
  const calledPort = Number(read(PEER_STATE.port))
  return {
    ...(address === undefined ? {} : { address }),
    ...(socket === undefined ? {} : { socket }),
    ...(principal === undefined ? {} : { principal }),
    ...(Number.isInteger(calledPort) ? { calledPort } : {}),
  }
}

function textOf(any: Any | undefined): string | undefined {
  return any === undefined ? undefined : anyUnpack(any, StringValueSchema)?.value
}

function socketOf(
  address: Address | undefined,
): { readonly address: string; readonly port: number } | undefined {
  if (address?.address.case !== 'socketAddress') return undefined
  const { address: text, portSpecifier } = address.address.value
  return { address: text, port: portSpecifier.case === 'portValue' ? portSpecifier.value : 0 }
}
