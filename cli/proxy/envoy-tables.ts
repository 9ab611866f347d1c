/** Entries of Envoy's config_dump as tables: the few columns by which one finds what one looks for; -o yaml has it all. */
import { formatTable } from '../output/table.ts'

export type Json = Readonly<Record<string, unknown>>

type Columns = readonly (readonly [heading: string, cell: (entry: Json) => string])[]

function at(value: unknown, ...path: readonly (string | number)[]): unknown {
  let found = value
  for (const key of path) {
    found = typeof found === 'object' && found !== null ? (found as Json)[key] : undefined
  }
  return found
}

function text(value: unknown): string {
  return value === undefined || value === null || value === '' ? '-' : String(value)
}

function listAt(value: unknown, ...path: readonly (string | number)[]): readonly Json[] {
  const found = at(value, ...path)
  return Array.isArray(found) ? (found as Json[]) : []
}

function addressText(address: unknown): string {
  const socket = at(address, 'socket_address')
  if (socket !== undefined)
    return `${text(at(socket, 'address'))}:${text(at(socket, 'port_value'))}`
  const path = at(address, 'pipe', 'path')
  if (path !== undefined) return `unix:${text(path)}`
  return text(at(address, 'envoy_internal_address', 'server_listener_name'))
}

const STATES = ['active_state', 'warming_state', 'draining_state'] as const

function listenerState(entry: Json): string {
  const states = STATES.filter((s) => entry[s] !== undefined).map((s) => s.split('_')[0] ?? s)
  return [...states, ...(entry.error_state === undefined ? [] : ['refused the newest'])].join(', ')
}

function newestState(entry: Json): unknown {
  return STATES.map((s) => entry[s]).find((s) => s !== undefined)
}

function chainText(chain: Json): string {
  const filters = listAt(chain, 'filters').map((f) => String(f.name).split('.').at(-1))
  return `${text(chain.name)}: ${filters.join(' → ')}`
}

const LISTENERS: Columns = [
  ['NAME', (e) => text(e.name)],
  ['ADDRESS', (e) => addressText(at(newestState(e), 'listener', 'address'))],
  ['STATE', listenerState],
  [
    'CHAINS',
    (e) => listAt(newestState(e), 'listener', 'filter_chains').map(chainText).join('; ') || '-',
  ],
  ['VERSION', (e) => text(at(newestState(e), 'version_info'))],
]

function routeText(entry: Json): string {
  const routes = listAt(entry, 'route_config', 'virtual_hosts').flatMap((v) => listAt(v, 'routes'))
  return routes
    .map((route) => {
      const match = at(route, 'match')
      const path = at(match, 'prefix') ?? at(match, 'path') ?? at(match, 'safe_regex', 'regex')
      return `${text(path)} → ${text(at(route, 'route', 'cluster'))}`
    })
    .join('; ')
}

function domainsText(entry: Json): string {
  const hosts = listAt(entry, 'route_config', 'virtual_hosts')
  return hosts.flatMap((v) => (Array.isArray(v.domains) ? v.domains : [])).join(',')
}

const ROUTES: Columns = [
  ['NAME', (e) => text(at(e, 'route_config', 'name'))],
  ['DOMAINS', (e) => text(domainsText(e))],
  ['ROUTES', (e) => text(routeText(e))],
  ['VERSION', (e) => text(e.version_info)],
]

const CLUSTERS: Columns = [
  ['NAME', (e) => text(at(e, 'cluster', 'name'))],
  ['DISCOVERY', (e) => text(at(e, 'cluster', 'type'))],
  ['TLS', (e) => (at(e, 'cluster', 'transport_socket') === undefined ? 'no' : 'yes')],
  ['VERSION', (e) => text(e.version_info)],
  ['UPDATED', (e) => text(e.last_updated)],
]

const ENDPOINTS: Columns = [
  ['CLUSTER', (e) => text(e.cluster)],
  ['ADDRESS', (e) => text(e.address)],
  ['HEALTH', (e) => text(e.health)],
]

/** A row for each endpoint; one without for a cluster that has none. */
function endpointRows(entry: Json): readonly Json[] {
  const cluster = at(entry, 'endpoint_config', 'cluster_name')
  const all = listAt(entry, 'endpoint_config', 'endpoints').flatMap((l) =>
    listAt(l, 'lb_endpoints'),
  )
  if (all.length === 0) return [{ cluster }]
  return all.map((e) => ({
    cluster,
    address: addressText(at(e, 'endpoint', 'address')),
    health: e.health_status,
  }))
}

const SECRETS: Columns = [
  ['NAME', (e) => text(e.name)],
  ['KIND', (e) => text(e.kind)],
  ['STATE', (e) => text(e.state)],
  ['SPIFFE ID', (e) => text(e.spiffeId)],
  ['SERIAL', (e) => text(e.serialNumber)],
  ['NOT BEFORE', (e) => text(e.notBefore)],
  ['NOT AFTER', (e) => text(e.notAfter)],
]

function secretRows(entry: Json): readonly Json[] {
  const certificates = listAt(entry, 'certificates')
  return certificates.length === 0 ? [entry] : certificates.map((c) => ({ ...entry, ...c }))
}

const TABLES: Readonly<
  Record<string, { readonly columns: Columns; readonly rows?: (entry: Json) => readonly Json[] }>
> = {
  listeners: { columns: LISTENERS },
  routes: { columns: ROUTES },
  clusters: { columns: CLUSTERS },
  endpoints: { columns: ENDPOINTS, rows: endpointRows },
  secrets: { columns: SECRETS, rows: secretRows },
}

export function formatEnvoySection(section: string, entries: readonly Json[]): string {
  const { columns, rows = (e: Json) => [e] } = TABLES[section] ?? { columns: [] }
  const cells = entries.flatMap(rows).map((entry) => columns.map(([, cell]) => cell(entry)))
  return formatTable([columns.map(([heading]) => heading), ...cells])
}
