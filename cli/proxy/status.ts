/**
 * `postern proxy status [POD]`: who is connected, with which versions, how far each is with each type, what it really
 * enforces and how far that is behind. One workload: all that is known of it.
 */
import type { Command } from 'commander'
import { MeshError } from '../../common/errors.ts'
import { askController } from '../admin-client.ts'
import { checkOutput, formatStructured } from '../output/format.ts'
import { print } from '../output/print.ts'
import { formatAge, formatTable } from '../output/table.ts'
import { stateOption } from '../state.ts'
import { toWorkloadName } from '../workload-name.ts'

/** As the admin API gives it (controller/runtime/proxy-overview.ts); an older controller's lacks fields. */
export interface ProxyOverview {
  readonly nodeId: string
  readonly workload: string
  readonly connected: boolean
  readonly ready: boolean
  readonly detail: string
  readonly version: string
  readonly envoyVersion: string
  readonly features: readonly string[]
  readonly missingFeatures: readonly string[]
  readonly sync: Readonly<Record<string, { readonly status: string; readonly seconds?: number }>>
  readonly enforcedGeneration: string
  readonly ackedGeneration: string
  readonly newestGeneration: string
  readonly bundleRevision: string
  readonly newestRevision: string
  readonly lagSeconds?: number
  readonly svidNotAfterMs: number
  readonly nacks: readonly {
    readonly typeUrl: string
    readonly names: readonly string[]
    readonly message: string
  }[]
}

/** Heading → type of resource, in the order in which they are published. */
const TYPES = [
  ['SDS', 'secret'],
  ['CDS', 'cluster'],
  ['EDS', 'endpoint'],
  ['ECDS', 'extensionConfig'],
  ['LDS', 'listener'],
  ['RDS', 'route'],
] as const
const HEADING = [
  ...['PROXY', 'CONNECTED', 'READY', 'SIDECAR', 'ENVOY', ...TYPES.map(([name]) => name)],
  ...['BUNDLE', 'ENFORCED', 'LAG', 'SVID ENDS', 'MISSING', 'LAST NACK'],
]
/** Digits of a hash that tell it from others, for people. */
const SHORT = 8
const MAX_NACK = 80

function short(hash: string): string {
  return hash === '' ? '-' : hash.slice(0, SHORT)
}

function syncText(sync: ProxyOverview['sync'][string] | undefined): string {
  if (sync === undefined) return '-'
  return sync.status === 'STALE' ? `STALE ${sync.seconds ?? 0}s` : sync.status
}

/** What it enforces, and beside it the newest when that is another. */
function enforcedText(proxy: ProxyOverview): string {
  const { enforcedGeneration: enforced, newestGeneration: newest } = proxy
  return enforced === newest ? short(enforced) : `${short(enforced)} (newest ${short(newest)})`
}

function bundleText({ bundleRevision: active, newestRevision: newest }: ProxyOverview): string {
  return active === newest ? short(active) : `${short(active)} (newest ${short(newest)})`
}

export function svidText(notAfterMs: number, nowMs: number): string {
  if (notAfterMs === 0) return '-'
  return notAfterMs <= nowMs ? 'ENDED' : `in ${formatAge(nowMs, notAfterMs)}`
}

/** The newest refusal, cut to what a table can bear; `describe` and `-o yaml` have it whole. */
function nackText(nacks: ProxyOverview['nacks']): string {
  const last = nacks.at(-1)
  if (last === undefined) return ''
  const text = `${last.names.join(',')}: ${last.message}`
  return text.length > MAX_NACK ? `${text.slice(0, MAX_NACK)}…` : text
}

function lagText({ connected, lagSeconds }: ProxyOverview): string {
  if (!connected) return '-'
  return lagSeconds === undefined ? '0s' : `${lagSeconds}s`
}

export function formatProxies(proxies: readonly ProxyOverview[], nowMs: number): string {
  const rows = proxies.map((p) => [
    p.workload,
    p.connected ? 'yes' : 'no',
    p.ready ? 'yes' : 'no',
    p.version || '-',
    p.envoyVersion || '-',
    ...TYPES.map(([, type]) => syncText(p.sync[type])),
    bundleText(p),
    enforcedText(p),
    lagText(p),
    svidText(p.svidNotAfterMs, nowMs),
    p.missingFeatures.join(',') || '-',
    nackText(p.nacks),
  ])
  return formatTable([HEADING, ...rows])
}

/** All that is known of one proxy, a line for each fact. */
export function formatProxy(p: ProxyOverview, nowMs: number): string {
  const facts: (readonly [string, string])[] = [
    ['Proxy:', p.workload],
    ['Node id:', p.nodeId],
    ['Connected:', p.connected ? 'yes' : 'no'],
    ['Ready:', p.ready ? 'yes' : 'no'],
    ['Detail:', p.detail || '-'],
    ['Sidecar:', p.version || '-'],
    ['Envoy:', p.envoyVersion || '-'],
    ['Features:', p.features.join(', ') || '-'],
    ['Missing:', p.missingFeatures.join(', ') || '-'],
    ...TYPES.map(([name, type]) => [`${name}:`, syncText(p.sync[type])] as const),
    ['Generation:', `enforced ${p.enforcedGeneration || '-'}`],
    ['', `acknowledged ${p.ackedGeneration || '-'}`],
    ['', `newest ${p.newestGeneration || '-'}`],
    ['Bundle:', `active ${p.bundleRevision || '-'}`],
    ['', `newest ${p.newestRevision || '-'}`],
    ['Lag:', lagText(p)],
    ['SVID ends:', svidText(p.svidNotAfterMs, nowMs)],
  ]
  const nacks = p.nacks.map(
    (n) => `  ${n.typeUrl.split('.').at(-1)} ${n.names.join(', ')}: ${n.message}\n`,
  )
  return `${formatTable(facts)}NACKs:\n${nacks.length === 0 ? '  <none>\n' : nacks.join('')}`
}

/** What an older controller doesn't say is unknown, and nobody's fault. */
const UNKNOWN: ProxyOverview = {
  ...{ nodeId: '', workload: '', connected: false, ready: false, detail: '' },
  ...{ version: '', envoyVersion: '', features: [], missingFeatures: [], sync: {}, nacks: [] },
  ...{ enforcedGeneration: '', ackedGeneration: '', newestGeneration: '' },
  ...{ bundleRevision: '', newestRevision: '', svidNotAfterMs: 0 },
}

export function readOverviews(answer: unknown): readonly ProxyOverview[] {
  const { items = [] } = answer as { readonly items?: readonly Partial<ProxyOverview>[] }
  return items.map((item) => {
    const said = { ...UNKNOWN, ...item }
    const workload = item.workload ?? said.nodeId.split('/', 2).join('/')
    const nacks = said.nacks.map((nack) => ({ ...nack, names: nack.names ?? [] }))
    const newestGeneration = item.newestGeneration ?? said.enforcedGeneration
    const newestRevision = item.newestRevision ?? said.bundleRevision
    return { ...said, workload, nacks, newestGeneration, newestRevision }
  })
}

export function addProxyStatus(proxy: Command): void {
  stateOption(proxy.command('status'))
    .description('who is connected, how far each proxy is, and what it really enforces')
    .argument('[pod]', 'only this workload: NAME, or NAMESPACE/NAME')
    .option('-n, --namespace <namespace>', 'namespace of a NAME', 'default')
    .option('-o, --output <format>', 'table|yaml|json', 'table')
    .action(
      async (
        pod: string | undefined,
        options: { state: string; namespace: string; output: string },
      ) => {
        checkOutput(options.output)
        const answer = await askController(options.state, 'GET', '/proxies')
        const all = readOverviews(answer)
        const wanted = pod === undefined ? undefined : toWorkloadName(pod, options.namespace)
        const found = all.filter((p) => wanted === undefined || p.workload === wanted)
        if (wanted !== undefined && found.length === 0) {
          const message = `there is no proxy ${wanted}; \`postern proxy status\` lists all`
          throw new MeshError('ERR_NOT_FOUND', message)
        }
        const [only] = found
        const nowMs = Date.now()
        print(
          formatStructured(options.output, wanted === undefined ? found : only) ??
            (wanted === undefined || only === undefined
              ? formatProxies(found, nowMs)
              : formatProxy(only, nowMs)),
        )
      },
    )
}
