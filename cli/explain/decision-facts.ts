/** What a decision record still tells of its request and of what Rego said: enough to ask each rule once more. */
import type { RegoOutcome } from '../../common/authz/combine.ts'
import type { RequestAttributes } from '../../common/authz/request.ts'
import type { DecisionRecord } from '../../common/decision.ts'

interface Input {
  readonly attributes?: {
    readonly request?: { readonly http?: { readonly headers?: Readonly<Record<string, string>> } }
  }
}

/** The headers that the record has, credentials masked; undefined: a decision of Envoy's, which records none. */
export function headersOf(record: DecisionRecord): Readonly<Record<string, string>> | undefined {
  return ((record.input ?? {}) as Input).attributes?.request?.http?.headers
}

export function toAttributes(record: DecisionRecord, port: number): RequestAttributes {
  const { source, method, path, host } = record.postern
  const colon = record.requested_by.lastIndexOf(':')
  const connection = {
    principal: source,
    sourceAddress: colon < 0 ? undefined : record.requested_by.slice(0, colon),
    destinationPort: port,
  }
  if (method === undefined && path === undefined) return { protocol: 'tcp', ...connection }
  return {
    protocol: 'http',
    ...connection,
    ...(method === undefined ? {} : { method }),
    ...(path === undefined ? {} : { path }),
    ...(host === undefined ? {} : { host }),
    headers: headersOf(record) ?? {},
  }
}

/** Of the policy that decided; what others said is not recorded. */
export function outcomesOf(record: DecisionRecord): ReadonlyMap<string, RegoOutcome> {
  const { result, error, postern, path } = record
  if (error !== undefined) return new Map([[postern.policy, { kind: 'error', ...error }]])
  if (path === undefined) return new Map()
  const isObject = typeof result === 'object' && result !== null
  const object = isObject ? (result as Readonly<Record<string, unknown>>) : undefined
  const allowed = object === undefined ? result === true : object.allowed === true
  const outcome = { kind: 'result' as const, allowed }
  return new Map([[postern.policy, object === undefined ? outcome : { ...outcome, object }]])
}
