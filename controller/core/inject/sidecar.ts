/**
 * What is put into a pod: the sidecar as a native one (it is there before the app and its init containers, and ends after
 * them), the init container that redirects, and their volumes.
 * The sidecar keeps to the Pod Security level `restricted`; the init container has NET_ADMIN, and nothing beside.
 */
import type { AppProbe } from '../../../common/app-probe.ts'
import type { Capture } from './capture.ts'
import {
  HEALTH_PORT,
  INIT,
  PROXY_UID,
  ROOTS_CONFIG_MAP,
  SIDECAR,
  TOKEN_AUDIENCE,
  VOLUMES,
} from './names.ts'
import { toNftRuleset } from './nft.ts'
import type { Container, Json } from './pod-spec.ts'
import { APP_PROBES, writeAppProbes } from './probes.ts'
import type { InjectionSettings } from './settings.ts'

const STATE = '/var/lib/postern'
const TOKEN = '/var/run/secrets/postern/token'
const ROOTS = '/var/run/secrets/postern/roots'
/** The least that Kubernetes gives: a stolen one is soon worth nothing. */
const TOKEN_SECONDS = 600
/** Where the sidecar makes its sockets: the volume itself belongs to root and is open to all. */
const RUN_DIR = `${STATE}/sidecar/run`

const CONFINED = {
  allowPrivilegeEscalation: false,
  privileged: false,
  readOnlyRootFilesystem: true,
  seccompProfile: { type: 'RuntimeDefault' },
}

/** Downward API: environment variable → field. */
const POD_FACTS = {
  POSTERN_POD_NAMESPACE: 'metadata.namespace',
  POSTERN_POD_NAME: 'metadata.name',
  POSTERN_POD_UID: 'metadata.uid',
  POSTERN_SERVICE_ACCOUNT: 'spec.serviceAccountName',
  POSTERN_POD_IP: 'status.podIP',
}

export function toSidecar(settings: InjectionSettings, probes: readonly AppProbe[]): Container {
  return {
    name: SIDECAR,
    image: settings.sidecarImage,
    imagePullPolicy: settings.imagePullPolicy,
    restartPolicy: 'Always',
    args: toArgs(settings),
    env: [
      ...Object.entries(POD_FACTS).map(([name, fieldPath]) => ({
        name,
        valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath } },
      })),
      { name: APP_PROBES, value: writeAppProbes(probes) },
    ],
    ports: [{ name: 'postern-health', containerPort: HEALTH_PORT, protocol: 'TCP' }],
    resources: settings.sidecarResources,
    securityContext: {
      ...CONFINED,
      capabilities: { drop: ['ALL'] },
      runAsNonRoot: true,
      runAsUser: PROXY_UID,
      runAsGroup: PROXY_UID,
    },
    startupProbe: probe('/readyz', { periodSeconds: 1, failureThreshold: 600 }),
    readinessProbe: probe('/readyz', { periodSeconds: 5, failureThreshold: 3 }),
    livenessProbe: probe('/healthz', { periodSeconds: 10, failureThreshold: 6 }),
    lifecycle: { preStop: { exec: { command: drainCommand() } } },
    volumeMounts: [
      { name: VOLUMES.state, mountPath: STATE },
      { name: VOLUMES.temp, mountPath: '/tmp' },
      { name: VOLUMES.token, mountPath: TOKEN, readOnly: true },
      { name: VOLUMES.roots, mountPath: ROOTS, readOnly: true },
    ],
  }
}

function toArgs({ controller, drainSeconds, concurrency, logLevel }: InjectionSettings): string[] {
  return [
    'sidecar',
    ...['--attest', 'pod'],
    ...['--controller', controller],
    ...['--pod-token-file', `${TOKEN}/token`],
    ...['--roots-file', `${ROOTS}/ca.crt`],
    ...['--state', STATE],
    ...['--health', `0.0.0.0:${HEALTH_PORT}`],
    ...['--drain-seconds', String(drainSeconds)],
    ...['--concurrency', String(concurrency)],
    ...['--log-level', logLevel],
  ]
}

/** At once when the pod is to end; the sidecar itself is told to end only after the app has. */
function drainCommand(): string[] {
  return ['/usr/bin/node', '/postern/cli/main.js', 'sidecar', 'drain', '--run-dir', RUN_DIR]
}

function probe(
  path: string,
  times: Json,
): Json & { readonly httpGet: { path: string; port: number; scheme: string } } {
  return { httpGet: { path, port: HEALTH_PORT, scheme: 'HTTP' }, timeoutSeconds: 2, ...times }
}

export function toInit(settings: InjectionSettings, capture: Capture): Container {
  const securityContext = {
    ...CONFINED,
    capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] },
    runAsNonRoot: false,
    runAsUser: 0,
    runAsGroup: 0,
  }
  return {
    name: INIT,
    image: settings.initImage,
    imagePullPolicy: settings.imagePullPolicy,
    args: [toNftRuleset(capture)],
    resources: settings.initResources,
    securityContext,
  }
}

export function toVolumes(): readonly ({ readonly name: string } & Json)[] {
  const serviceAccountToken = {
    audience: TOKEN_AUDIENCE,
    expirationSeconds: TOKEN_SECONDS,
    path: 'token',
  }
  return [
    { name: VOLUMES.state, emptyDir: { medium: 'Memory', sizeLimit: '64Mi' } },
    { name: VOLUMES.temp, emptyDir: { medium: 'Memory', sizeLimit: '16Mi' } },
    { name: VOLUMES.token, projected: { defaultMode: 0o644, sources: [{ serviceAccountToken }] } },
    { name: VOLUMES.roots, configMap: { name: ROOTS_CONFIG_MAP, defaultMode: 0o644 } },
  ]
}
