/** What injection calls things, and the numbers that it and the sidecar agree on. */

export const LABEL_INJECT = 'postern.dev/inject'
export const LABEL_REVISION = 'postern.dev/rev'
export const EXCLUDE_INBOUND_PORTS = 'postern.dev/exclude-inbound-ports'
export const EXCLUDE_OUTBOUND_PORTS = 'postern.dev/exclude-outbound-ports'
export const EXCLUDE_OUTBOUND_CIDRS = 'postern.dev/exclude-outbound-cidrs'

export const SIDECAR = 'postern-sidecar'
export const INIT = 'postern-init'

/** Volumes of the sidecar's own; nobody else may mount one of these names. */
export const VOLUMES = {
  state: 'postern-state',
  temp: 'postern-tmp',
  token: 'postern-token',
  roots: 'postern-roots',
} as const

export const ROOTS_CONFIG_MAP = 'postern-ca-roots'
export const TOKEN_AUDIENCE = 'postern-ca'

export const PROXY_UID = 1337
export const OUTBOUND_PORT = 15001
export const INBOUND_PORT = 15006
/** Health, metrics and the app's probes: the one port of a pod that is never captured. */
export const HEALTH_PORT = 15020
