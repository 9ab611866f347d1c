/**
 * The controller's configuration. In: command line, environment, working directory. Out: Config, or every mistake at
 * once. Pure. One table is the truth: names, defaults, units, help.
 */
import { resolve } from 'node:path/posix'

/** Paths are absolute: a program that is started elsewhere must find them too. */
export interface Config {
  readonly source: 'files' | 'kubernetes'
  /** Empty: the source is not a folder. */
  readonly manifests: string
  /** Empty: the pod's own service account. */
  readonly kubeconfig: string
  /** Of the controller itself, in Kubernetes. */
  readonly namespace: string
  readonly state: string
  readonly listen: Address
  readonly health: Address
  /** Undefined: no webhooks. */
  readonly webhook: Address | undefined
  /** Empty: defaults. */
  readonly injection: string
  readonly opa: string
  readonly logLevel: string
}

export interface Address {
  readonly host: string
  readonly port: number
}

export type ParsedConfig =
  | { readonly kind: 'config'; readonly config: Config }
  | { readonly kind: 'help'; readonly text: string }
  | { readonly kind: 'mistakes'; readonly mistakes: readonly string[] }

export interface Option<T = unknown> {
  readonly flag: string
  readonly value: string
  /** Read when the flag is not given. */
  readonly env?: string
  /** Absent: required. */
  readonly default?: string
  /** What is said of the default. */
  readonly defaultDoc?: string
  readonly doc: string
  /** The value, or what is wrong with it. `cwd`: what relative paths are taken from. */
  readonly parse: (text: string, cwd: string) => T | Mistake
}

class Mistake {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']

const path = (value: string, cwd: string): string | Mistake =>
  value === '' ? new Mistake('must not be empty') : resolve(cwd, value)

const optionalPath = (value: string, cwd: string): string =>
  value === '' ? '' : resolve(cwd, value)

function namespaceName(value: string): string | Mistake {
  return /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(value)
    ? value
    : new Mistake('must be the name of a namespace')
}

function source(value: string): Config['source'] | Mistake {
  return value === 'files' || value === 'kubernetes'
    ? value
    : new Mistake('must be files or kubernetes')
}

function address(value: string): Address | Mistake {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(value)
  const port = Number(match?.[3])
  const host = match?.[1] ?? match?.[2]
  if (host === undefined || !(port <= 65_535)) {
    return new Mistake('must be HOST:PORT, such as 127.0.0.1:15012 or [::1]:15012')
  }
  return { host, port }
}

function logLevel(value: string): string | Mistake {
  return LOG_LEVELS.includes(value) ? value : new Mistake(`must be one of ${LOG_LEVELS.join(', ')}`)
}

/** Where objects come from. */
const SOURCE_OPTIONS = {
  source: {
    flag: '--source',
    value: 'SOURCE',
    default: 'files',
    doc: 'where objects come from: files, or kubernetes, with pods and Services beside them',
    parse: source,
  },
  manifests: {
    flag: '--manifests',
    value: 'DIR',
    default: '',
    defaultDoc: 'required with --source files',
    doc: 'folder of manifests (*.yaml, *.yml, *.json, below it too); it is watched; must be there at the first start',
    parse: optionalPath,
  },
  kubeconfig: {
    flag: '--kubeconfig',
    value: 'PATH',
    default: '',
    defaultDoc: 'default: the service account of the pod',
    doc: 'with --source kubernetes: which API server, and as whom',
    parse: optionalPath,
  },
  namespace: {
    flag: '--namespace',
    value: 'NAME',
    env: 'POD_NAMESPACE',
    default: 'postern-system',
    doc: 'with --source kubernetes: where the Lease of the leader is',
    parse: namespaceName,
  },
} satisfies Record<string, Option>

const WEBHOOK_OPTIONS = {
  webhook: {
    flag: '--webhook',
    value: 'HOST:PORT',
    default: '',
    defaultDoc: 'default: none',
    doc: 'with --source kubernetes: where the API server asks to inject pods and to judge objects (HTTPS)',
    parse: (value) => (value === '' ? undefined : address(value)),
  },
  injection: {
    flag: '--injection',
    value: 'FILE',
    default: '',
    defaultDoc: 'default: built in',
    doc: 'settings of injection, JSON, as the chart writes them',
    parse: optionalPath,
  },
} satisfies Record<string, Option>

/** `defaultOpa`: path of the binary that `make tools` puts beside the package. */
export function optionsOf(defaultOpa: string) {
  return {
    ...SOURCE_OPTIONS,
    ...WEBHOOK_OPTIONS,
    state: {
      flag: '--state',
      value: 'DIR',
      doc: 'directory for keys, accepted generations and the admin socket; made with mode 0700; not among the manifests',
      parse: path,
    },
    listen: {
      flag: '--listen',
      value: 'HOST:PORT',
      default: '127.0.0.1:15012',
      doc: 'where sidecars connect (mutual TLS: certificates, xDS, bundles)',
      parse: address,
    },
    health: {
      flag: '--health',
      value: 'HOST:PORT',
      default: '127.0.0.1:15014',
      doc: 'plain HTTP: /healthz, /readyz, /metrics',
      parse: address,
    },
    opa: {
      flag: '--opa',
      value: 'PATH',
      env: 'POSTERN_OPA',
      default: defaultOpa,
      doc: 'the opa binary that compiles Rego',
      parse: path,
    },
    logLevel: {
      flag: '--log-level',
      value: 'LEVEL',
      default: 'info',
      doc: LOG_LEVELS.join(', '),
      parse: logLevel,
    },
  } satisfies Record<keyof Config, Option>
}

/** Absolute. */
export interface Places {
  readonly cwd: string
  /** The opa binary of `make tools`. */
  readonly defaultOpa: string
}

/** Takes `--flag value` and `--flag=value`; the last one counts. */
export function parseConfig(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  places: Places,
): ParsedConfig {
  const options: Record<string, Option> = optionsOf(places.defaultOpa)
  if (argv.includes('--help') || argv.includes('-h')) {
    return { kind: 'help', text: formatHelp(Object.values(options)) }
  }
  const mistakes: string[] = []
  const given = readFlags(argv, Object.values(options), mistakes)
  const config: Record<string, unknown> = {}
  for (const [key, option] of Object.entries(options)) {
    const value =
      given.get(option.flag) ??
      (option.env === undefined ? undefined : env[option.env]) ??
      option.default
    if (value === undefined) {
      mistakes.push(`${option.flag} ${option.value} is required: ${option.doc}`)
      continue
    }
    const parsed = option.parse(value, places.cwd)
    if (parsed instanceof Mistake) mistakes.push(`${option.flag} ${value}: ${parsed.text}`)
    else config[key] = parsed
  }
  mistakes.push(...findContradictions(config))
  // The table has every key of Config, and each one was parsed.
  return mistakes.length > 0
    ? { kind: 'mistakes', mistakes }
    : { kind: 'config', config: config as unknown as Config }
}

function findContradictions({ source, manifests, webhook }: Partial<Config>): readonly string[] {
  if (source === 'files' && webhook !== undefined) return ['--webhook is for --source kubernetes']
  if (source === 'files' && manifests === '')
    return [`--manifests DIR is required: ${SOURCE_OPTIONS.manifests.doc}`]
  if (source === 'kubernetes' && manifests !== '')
    return ['--manifests is for --source files; apply the manifests to the API server']
  return []
}

function readFlags(
  argv: readonly string[],
  options: readonly Option[],
  mistakes: string[],
): ReadonlyMap<string, string> {
  const given = new Map<string, string>()
  for (let i = 0; i < argv.length; i++) {
    const [flag = '', ...rest] = (argv[i] ?? '').split('=')
    if (!options.some((o) => o.flag === flag)) {
      mistakes.push(`${flag} is no option of postern controller; see --help`)
      continue
    }
    const value = rest.length > 0 ? rest.join('=') : argv[++i]
    if (value === undefined) mistakes.push(`${flag} needs a value`)
    else given.set(flag, value)
  }
  return given
}

function formatHelp(options: readonly Option[]): string {
  const lines = options.map((o) => {
    const from = o.env === undefined ? '' : `, or ${o.env}`
    const fallback =
      o.defaultDoc ?? (o.default === undefined ? 'required' : `default: ${o.default}`)
    return `  ${`${o.flag} ${o.value}`.padEnd(24)}${o.doc} (${fallback}${from})`
  })
  return ['usage: postern controller --manifests DIR --state DIR [options]', '', ...lines, ''].join(
    '\n',
  )
}
