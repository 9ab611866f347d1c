/**
 * The sidecar's configuration. In: the command line after `sidecar`, and the environment. Out: every value, or every
 * mistake at once. One table is the source of parsing, of `--help` and of the reference page. Pure.
 */
import { join, resolve } from 'node:path/posix'
import { type AppProbe, parseAppProbes } from '../common/app-probe.ts'
import { parseAddress } from '../common/authz/address.ts'
import { isWorkloadUid } from '../common/svid-extension.ts'

export interface SidecarConfig {
  /** `HOST:PORT`. */
  readonly controller: string
  readonly state: string
  readonly joinTokenFile: string | undefined
  /** The pod that it is a sidecar of; undefined: a WorkloadEntry's. */
  readonly pod: PodConfig | undefined
  /** Probes of the pod's containers that are served in their place. */
  readonly appProbes: readonly AppProbe[]
  readonly runDir: string
  /** `HOST:PORT`; undefined: no health server. */
  readonly health: string | undefined
  /** A file, or `-` for stdout. */
  readonly decisionLog: string
  /** A file, `-` for stdout, or undefined for none. */
  readonly accessLog: string | undefined
  readonly envoy: string
  readonly concurrency: number
  readonly drainSeconds: number
  readonly logLevel: string
}

/** As the downward API says that it is, and what is mounted into it. */
export interface PodConfig {
  readonly namespace: string
  readonly name: string
  readonly uid: string
  readonly serviceAccount: string
  readonly ip: string
  readonly tokenFile: string
  readonly rootsFile: string
}

export type ParsedConfig =
  | { readonly kind: 'config'; readonly config: SidecarConfig }
  | { readonly kind: 'help'; readonly text: string }
  | { readonly kind: 'mistakes'; readonly mistakes: readonly string[] }

export interface ConfigOption {
  /** `--flag`; the environment variable is POSTERN_FLAG, in capitals and with underscores. */
  readonly flag: string
  readonly value: string
  readonly doc: string
  readonly default?: string
  readonly required?: boolean
  /** What is wrong with a value; undefined: nothing. */
  readonly check?: (value: string) => string | undefined
}

/** Of a pod, which has them all. */
const POD_FACTS = ['pod-namespace', 'pod-name', 'pod-uid', 'service-account', 'pod-ip'] as const
/** Under `--state`, which is a volume's root in a pod and so not ours to close to others. */
const POD_STATE = 'sidecar'

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error']

export const SIDECAR_OPTIONS: readonly ConfigOption[] = [
  {
    flag: 'controller',
    value: 'HOST:PORT',
    doc: 'the controller’s gRPC port',
    required: true,
    check: checkAddress,
  },
  {
    flag: 'state',
    value: 'DIR',
    doc: 'where identity, configuration and bundles are kept over restarts (0700; one sidecar each)',
    required: true,
  },
  {
    flag: 'join-token-file',
    value: 'FILE',
    doc: 'the join token of `postern token create`; needed until the first start has succeeded',
  },
  {
    flag: 'attest',
    value: 'token|pod',
    doc: 'how the workload is proved to the controller: by a join token, or as a pod by its service-account token',
    default: 'token',
    check: (value) =>
      value === 'token' || value === 'pod' ? undefined : 'is neither token nor pod',
  },
  {
    flag: 'pod-token-file',
    value: 'FILE',
    doc: 'the pod’s projected token for the audience postern-ca; read anew each time',
    default: '/var/run/secrets/postern/token/token',
  },
  {
    flag: 'roots-file',
    value: 'FILE',
    doc: 'with --attest pod: the roots (PEM) that the controller must prove; read anew each time',
    default: '/var/run/secrets/postern/roots/ca.crt',
  },
  { flag: 'pod-namespace', value: 'NAME', doc: 'of the pod', check: checkName },
  { flag: 'pod-name', value: 'NAME', doc: 'of the pod', check: checkName },
  { flag: 'pod-uid', value: 'UID', doc: 'of the pod', check: checkUid },
  { flag: 'service-account', value: 'NAME', doc: 'of the pod', check: checkName },
  {
    flag: 'pod-ip',
    value: 'ADDRESS',
    doc: 'of the pod: where --app-probes find the app',
    check: (value) => (parseAddress(value) === undefined ? 'is no IP address' : undefined),
  },
  {
    flag: 'app-probes',
    value: 'JSON',
    doc: 'probes of the pod’s containers, which --health serves under /app-health/ in their place',
    check: (value) => {
      const parsed = parseAppProbes(value)
      return typeof parsed === 'string' ? parsed : undefined
    },
  },
  {
    flag: 'run-dir',
    value: 'DIR',
    doc: 'where Unix sockets and Envoy’s bootstrap are (0700); default: STATE/run',
  },
  {
    flag: 'health',
    value: 'HOST:PORT',
    doc: 'serve /healthz, /readyz and /metrics here; default: nowhere',
    check: checkAddress,
  },
  {
    flag: 'decision-log',
    value: 'FILE|-',
    doc: 'where decisions are written, one JSON document a line; - is stdout',
    default: '-',
  },
  {
    flag: 'access-log',
    value: 'FILE|-|off',
    doc: 'where the access log is written, as far as the Mesh wants one, one JSON document a line; - is stdout',
    default: '-',
  },
  {
    flag: 'envoy',
    value: 'PATH',
    doc: 'the Envoy binary; default: .tools/envoy of this installation',
  },
  {
    flag: 'concurrency',
    value: 'N',
    doc: 'Envoy’s worker threads',
    default: '2',
    check: checkInteger(1, 128),
  },
  {
    flag: 'drain-seconds',
    value: 'N',
    doc: 'how long open connections may go on at the end, and on listeners that were replaced',
    default: '5',
    check: checkInteger(0, 3600),
  },
  {
    flag: 'log-level',
    value: LOG_LEVELS.join('|'),
    doc: 'least severe level that is logged (stderr, JSON lines)',
    default: 'info',
    check: (value) =>
      LOG_LEVELS.includes(value) ? undefined : `is none of ${LOG_LEVELS.join(', ')}`,
  },
]

/** Absolute; relative paths of the command line are taken from `cwd`. */
export interface Places {
  readonly cwd: string
  readonly packageRoot: string
}

export function parseConfig(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  places: Places,
): ParsedConfig {
  if (argv.includes('--help') || argv.includes('-h')) return { kind: 'help', text: helpText() }
  const { values, mistakes } = readFlags(argv)
  for (const option of SIDECAR_OPTIONS) {
    const { flag } = option
    const value = values.get(flag) ?? env[variableOf(flag)] ?? option.default ?? ''
    values.set(flag, value)
    const fault = faultOf(option, value)
    if (fault !== undefined) mistakes.push(fault)
  }
  mistakes.push(...findContradictions(values))
  return mistakes.length > 0
    ? { kind: 'mistakes', mistakes }
    : { kind: 'config', config: toConfig(values, places) }
}

function findContradictions(values: ReadonlyMap<string, string>): readonly string[] {
  const isGiven = (flag: string) => (values.get(flag) ?? '') !== ''
  if (values.get('attest') === 'pod')
    return POD_FACTS.filter((flag) => !isGiven(flag)).map(
      (flag) => `--${flag} is missing: --attest pod needs it`,
    )
  return isGiven('app-probes') ? ['--app-probes is for --attest pod'] : []
}

function toPod(text: (flag: string) => string, path: (flag: string) => string): PodConfig {
  return {
    namespace: text('pod-namespace'),
    name: text('pod-name'),
    uid: text('pod-uid'),
    serviceAccount: text('service-account'),
    ip: text('pod-ip'),
    tokenFile: path('pod-token-file'),
    rootsFile: path('roots-file'),
  }
}

/** Every option has a value here, empty for none. */
function toConfig(values: ReadonlyMap<string, string>, places: Places): SidecarConfig {
  const text = (flag: string) => values.get(flag) ?? ''
  const optional = (flag: string) => text(flag) || undefined
  const path = (flag: string, fallback: string) => resolve(places.cwd, text(flag) || fallback)
  const isPod = text('attest') === 'pod'
  const state = isPod ? join(path('state', ''), POD_STATE) : path('state', '')
  const probes = parseAppProbes(text('app-probes') || '[]')
  const target = (flag: string) => {
    if (text(flag) === 'off' && flag === 'access-log') return undefined
    return text(flag) === '-' ? '-' : path(flag, '')
  }
  return {
    controller: text('controller'),
    state,
    joinTokenFile: optional('join-token-file') && path('join-token-file', ''),
    pod: isPod ? toPod(text, (flag) => path(flag, '')) : undefined,
    appProbes: typeof probes === 'string' ? [] : probes,
    runDir: path('run-dir', join(state, 'run')),
    health: optional('health'),
    decisionLog: target('decision-log') ?? '-',
    accessLog: target('access-log'),
    envoy: path('envoy', join(places.packageRoot, '.tools/envoy')),
    concurrency: Number(text('concurrency')),
    drainSeconds: Number(text('drain-seconds')),
    logLevel: text('log-level'),
  }
}

function faultOf(option: ConfigOption, value: string): string | undefined {
  const { flag, doc } = option
  if (value === '')
    return option.required === true ? `--${flag} ${option.value} is missing: ${doc}` : undefined
  const fault = option.check?.(value)
  return fault === undefined ? undefined : `--${flag} ${value} ${fault}`
}

export function variableOf(flag: string): string {
  return `POSTERN_${flag.toUpperCase().replaceAll('-', '_')}`
}

function readFlags(argv: readonly string[]): { values: Map<string, string>; mistakes: string[] } {
  const values = new Map<string, string>()
  const mistakes: string[] = []
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i] ?? ''
    const equals = word.indexOf('=')
    const flag = word.slice(2, equals < 0 ? undefined : equals)
    if (!word.startsWith('--') || !SIDECAR_OPTIONS.some((option) => option.flag === flag)) {
      mistakes.push(`${word} is no option of the sidecar; see --help`)
      continue
    }
    const value = equals < 0 ? argv[++i] : word.slice(equals + 1)
    if (value === undefined) mistakes.push(`--${flag} lacks its value`)
    else if (values.has(flag)) mistakes.push(`--${flag} is given twice`)
    else values.set(flag, value)
  }
  return { values, mistakes }
}

function helpText(): string {
  const lines = SIDECAR_OPTIONS.map(({ flag, value, doc, default: fallback, required }) => {
    const notes = [
      ...(required === true ? ['required'] : []),
      ...(fallback === undefined ? [] : [`default: ${fallback}`]),
    ]
    const note = notes.length === 0 ? '' : ` (${notes.join(', ')})`
    return `  --${flag} ${value}\n      ${doc}${note}`
  })
  return [
    'Usage: postern sidecar --controller HOST:PORT --state DIR [options]',
    '',
    'Runs Envoy beside a workload: gets its certificate, its configuration and its policies from the controller.',
    '',
    ...lines,
    '',
    'Each option may also be given as environment variable: --log-level is POSTERN_LOG_LEVEL.',
    '',
  ].join('\n')
}

function checkAddress(value: string): string | undefined {
  const port = /^(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):(\d{1,5})$/.exec(value)?.[1]
  const isPort = port !== undefined && Number(port) >= 1 && Number(port) <= 65_535
  return isPort ? undefined : 'is not HOST:PORT'
}

/** RFC 1123, as names of namespaces, pods and service accounts are. */
function checkName(value: string): string | undefined {
  const isName = /^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$/.test(value)
  return isName ? undefined : 'is no name'
}

function checkUid(value: string): string | undefined {
  return isWorkloadUid(value) ? undefined : 'is no UID'
}

function checkInteger(least: number, most: number): (value: string) => string | undefined {
  return (value) => {
    const isInRange = /^\d{1,9}$/.test(value) && Number(value) >= least && Number(value) <= most
    return isInRange ? undefined : `is not a whole number from ${least} to ${most}`
  }
}
