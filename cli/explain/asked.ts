/** The request that `postern explain request` is about, and what the controller said of its callee. Values only. */
import type { SourceLocation } from '../../common/errors.ts'
import type { InboundPort } from '../../controller/core/model/mesh.ts'
import { authzName, rbacName } from '../../controller/core/xds/names.ts'

/** As a client sends it: nothing is normalised yet. */
export interface AskedRequest {
  /** SPIFFE id of the client's certificate; undefined: it has none. */
  readonly principal: string | undefined
  readonly sourceAddress: string
  readonly port: number
  readonly transport: 'tls' | 'plaintext'
  readonly method: string
  readonly path: string
  readonly host: string
  readonly headers: readonly (readonly [string, string])[]
  readonly body?: Uint8Array
}

/** As the admin API gives it (controller/runtime/grounds.ts). */
export interface Version {
  readonly roles: readonly string[]
  readonly generation: string
  readonly revision: string
  readonly trustDomain: string
  readonly inbound: readonly InboundPort[]
  readonly extensions: Readonly<Record<string, string>>
  readonly archive: string
}

export interface Grounds {
  readonly workload: string
  readonly nodeId: string
  readonly spiffeId: string
  readonly service: string
  readonly connected: boolean
  readonly versions: readonly Version[]
  readonly locations: Readonly<Record<string, SourceLocation>>
}

/** In base64, what decides in this chain of an inbound port; undefined: there is no such chain. */
export function decidingConfig(
  { extensions }: Version,
  port: number,
  transport: AskedRequest['transport'],
): string | undefined {
  return extensions[authzName(port, transport)] ?? extensions[rbacName(port, transport)]
}
