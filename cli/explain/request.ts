/**
 * `postern explain request`: which policy and rule would decide a request, without sending it. The controller gives what
 * the callee's proxy enforces, and what is newest when that differs; both are explained.
 * Exit code: 0 allowed, 3 denied, by what the proxy enforces; 1 and 2 as everywhere.
 */
import { readFileSync } from 'node:fs'
import type { Command } from 'commander'
import { parseAddress } from '../../common/authz/address.ts'
import { MeshError } from '../../common/errors.ts'
import { askController } from '../admin-client.ts'
import { DENIED, ExitWith } from '../exit.ts'
import { checkOutput, formatStructured } from '../output/format.ts'
import { print } from '../output/print.ts'
import { stateOption } from '../state.ts'
import { toWorkloadName } from '../workload-name.ts'
import type { AskedRequest, Grounds } from './asked.ts'
import { type ExplainContext, type Explanation, explain } from './explain.ts'
import { formatExplanation } from './format.ts'

export interface RequestFlags {
  readonly from: string
  readonly to: string
  readonly port?: string
  readonly method: string
  readonly path: string
  readonly host?: string
  readonly header: readonly string[]
  readonly body?: string
  readonly sourceIp: string
  readonly tls?: boolean
  readonly plaintext?: boolean
  readonly namespace: string
  readonly state: string
  readonly output: string
}

const NANOSECONDS = 1_000_000n

function collect(value: string, before: readonly string[]): readonly string[] {
  return [...before, value]
}

function toHeader(text: string): readonly [string, string] {
  const colon = text.indexOf(':', 1)
  if (colon < 0) throw new MeshError('ERR_CONFIG', `--header ${text}: write "name: value"`)
  return [text.slice(0, colon), text.slice(colon + 1).trim()]
}

function isHost([name]: readonly [string, string]): boolean {
  return name.toLowerCase() === 'host'
}

/** `@file` or the text itself. */
function toBody(text: string | undefined): Uint8Array | undefined {
  if (text === undefined) return undefined
  if (!text.startsWith('@')) return Buffer.from(text)
  try {
    return readFileSync(text.slice(1))
  } catch (cause) {
    throw new MeshError('ERR_CONFIG', `--body: ${text.slice(1)} can't be read`, { cause })
  }
}

/** A SPIFFE id as it is; a workload's by the controller; undefined for `none`. */
async function principalOf(flags: RequestFlags): Promise<string | undefined> {
  const { from, namespace, state } = flags
  if (from === 'none') return undefined
  if (from.startsWith('spiffe://')) return from
  const workload = toWorkloadName(from, namespace)
  const answer = await askController(state, 'GET', `/workloads/${workload}`)
  if (answer === undefined) throw noWorkload(workload)
  return (answer as { spiffeId: string }).spiffeId
}

function noWorkload(workload: string): MeshError {
  const message = `there is no workload ${workload}; \`postern get workloadentries -A\` lists all`
  return new MeshError('ERR_NOT_FOUND', message)
}

function portOf({ port }: RequestFlags, { versions, workload }: Grounds): number {
  if (port !== undefined) {
    if (/^\d{1,5}$/.test(port)) return Number(port)
    throw new MeshError('ERR_CONFIG', `--port ${port} is no port`)
  }
  const inbound = versions.at(-1)?.inbound ?? []
  const [only] = inbound
  if (only !== undefined && inbound.length === 1) return only.port
  const ports = inbound.map((p) => `${p.port} (${p.name})`).join(', ')
  const message = `${workload} serves ${ports || 'no port'}; say which with --port`
  throw new MeshError('ERR_CONFIG', message)
}

function transportOf(
  { tls, plaintext }: RequestFlags,
  principal: string | undefined,
): AskedRequest['transport'] {
  if (tls === true && plaintext === true) {
    throw new MeshError('ERR_CONFIG', '--tls and --plaintext do not go together')
  }
  if (tls === true) return 'tls'
  return plaintext === true || principal === undefined ? 'plaintext' : 'tls'
}

function sourceOf({ sourceIp }: RequestFlags): string {
  if (parseAddress(sourceIp) !== undefined) return sourceIp
  throw new MeshError('ERR_CONFIG', `--source-ip ${sourceIp} is no IP address`)
}

export async function readAsked(flags: RequestFlags, grounds: Grounds): Promise<AskedRequest> {
  const principal = await principalOf(flags)
  const [, service = ''] = grounds.service.split('/')
  const body = toBody(flags.body)
  const headers = flags.header.map(toHeader)
  // As with curl, a header Host without --host is the host.
  const own = flags.host ?? headers.find(isHost)?.[1]
  const isTaken = flags.host === undefined && own !== undefined
  return {
    principal,
    sourceAddress: sourceOf(flags),
    port: portOf(flags, grounds),
    transport: transportOf(flags, principal),
    method: flags.method,
    path: flags.path,
    host: own ?? service,
    headers: isTaken ? headers.toSpliced(headers.findIndex(isHost), 1) : headers,
    ...(body === undefined ? {} : { body }),
  }
}

/** One explanation for each version, the enforced one first. */
export function explainAll(
  grounds: Grounds,
  asked: AskedRequest,
  options: Omit<ExplainContext, 'ownId'>,
): Promise<readonly Explanation[]> {
  const context = { ownId: grounds.spiffeId, ...options }
  return Promise.all(grounds.versions.map((version) => explain(version, asked, context)))
}

function formatAll(grounds: Grounds, all: readonly Explanation[]): string {
  const texts = all.map((e) => formatExplanation(e, grounds.locations))
  if (all.length > 1) {
    return `The proxy does not enforce the newest yet. What it enforces:\n\n${texts[0]}\nThe newest:\n\n${texts[1]}`
  }
  const isEnforced = all[0]?.roles.includes('enforced') === true
  const warning = isEnforced
    ? ''
    : `The proxy of ${grounds.workload} ${grounds.connected ? 'enforces nothing that is known here' : 'is not connected'}: this is the newest, not what is in force.\n\n`
  return `${warning}${texts[0] ?? ''}`
}

async function explainRequest(flags: RequestFlags): Promise<void> {
  checkOutput(flags.output)
  const workload = toWorkloadName(flags.to, flags.namespace)
  const answer = await askController(flags.state, 'GET', `/grounds/${workload}`)
  if (answer === undefined) throw noWorkload(workload)
  const grounds = answer as Grounds
  const asked = await readAsked(flags, grounds)
  const all = await explainAll(grounds, asked, { nowNs: BigInt(Date.now()) * NANOSECONDS })
  const value = { workload, explanations: all, locations: grounds.locations }
  print(formatStructured(flags.output, toPlain(value)) ?? formatAll(grounds, all))
  if (all[0]?.allowed !== true) throw new ExitWith(DENIED)
}

/** As JSON has it: the body as its length, which is all that explains anything. */
function toPlain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_key, v: unknown) =>
      v instanceof Uint8Array ? { bytes: v.length } : v,
    ),
  )
}

export function addExplainRequest(explainCommand: Command): void {
  stateOption(explainCommand.command('request'))
    .description('which policy and rule would decide a request, and why the others do not')
    .requiredOption('--from <caller>', 'workload (NAME or NAMESPACE/NAME), SPIFFE id, or none')
    .requiredOption('--to <workload>', 'the called workload: NAME, or NAMESPACE/NAME')
    .option('--port <number>', 'the inbound port; needed when it serves several')
    .option('--method <method>', 'HTTP method', 'GET')
    .option('--path <path>', 'as a client sends it, with the query', '/')
    .option('--host <host>', 'Host as a client sends it; default: the service’s name')
    .option('-H, --header <name: value>', 'request header; repeatable', collect, [])
    .option('--body <text>', 'request body, or @FILE')
    .option('--source-ip <address>', 'the caller’s own address', '127.0.0.1')
    .option('--tls', 'over mutual TLS; the default when the caller has an identity')
    .option('--plaintext', 'over plaintext; the default for --from none')
    .option('-n, --namespace <namespace>', 'namespace of a NAME', 'default')
    .option('-o, --output <format>', 'table|yaml|json', 'table')
    .addHelpText('after', '\nExit code: 0 allowed, 3 denied, 1 an error, 2 a wrong command line.')
    .action(explainRequest)
}
