/**
 * A pod, or a template of one → the same with Postern's sidecar, and back. Pure. An injected pod is taken apart first, so
 * that injecting it again gives the same, a newer Postern replaces an older one's parts, and what only looks like ours goes.
 */
import type { AppProbe } from '../../../common/app-probe.ts'
import { readCapture } from './capture.ts'
import { decide } from './decide.ts'
import { type JsonPatch, toJsonPatch } from './json-patch.ts'
import { EXCLUDE_INBOUND_PORTS, INIT, LABEL_REVISION, SIDECAR, VOLUMES } from './names.ts'
import type { Container, PodTemplate, Refusal } from './pod-spec.ts'
import { APP_PROBES, readAppProbes, restoreProbes, rewriteProbes } from './probes.ts'
import type { InjectionSettings } from './settings.ts'
import { toInit, toSidecar, toVolumes } from './sidecar.ts'

export type Injection<T extends PodTemplate = PodTemplate> =
  | {
      readonly kind: 'injected'
      readonly pod: T
      /** RFC 6902, from what was given; empty: it was injected already. */
      readonly patch: JsonPatch
      /** What the owner should know. */
      readonly warnings: readonly string[]
    }
  | { readonly kind: 'left'; readonly reason: string }
  | { readonly kind: 'refused'; readonly refusals: readonly Refusal[] }

const OWN_NAMES: readonly string[] = [SIDECAR, INIT]
const OWN_VOLUMES: readonly string[] = Object.values(VOLUMES)

export function injectPod<T extends PodTemplate>(
  given: T,
  settings: InjectionSettings,
): Injection<T> {
  const decision = decide(given)
  if (decision.kind === 'leave') return { kind: 'left', reason: decision.reason }
  if (decision.kind === 'refuse') return { kind: 'refused', refusals: decision.refusals }
  const { capture, refusals } = readCapture(given.metadata ?? {})
  if (refusals.length > 0) return { kind: 'refused', refusals }
  const pod = uninjectPod(given)
  const { metadata = {}, spec = {} } = pod
  const probes: AppProbe[] = []
  const rewrite = (container: Container) => {
    const rewritten = rewriteProbes(container)
    probes.push(...rewritten.probes)
    return rewritten.container
  }
  const containers = (spec.containers ?? []).map(rewrite)
  const initContainers = (spec.initContainers ?? []).map(rewrite)
  const own = [toInit(settings, capture), toSidecar(settings, probes)]
  const injected = {
    ...pod,
    metadata: { ...metadata, labels: { ...metadata.labels, [LABEL_REVISION]: settings.revision } },
    spec: {
      ...spec,
      initContainers: [...own, ...initContainers],
      containers,
      volumes: [...(spec.volumes ?? []), ...toVolumes()],
    },
  }
  return {
    kind: 'injected',
    pod: injected,
    patch: toJsonPatch(given, injected),
    warnings: [...warningsOf(capture.excludedInboundPorts), ...findLoosers(pod)],
  }
}

/** Without what `injectPod` added; anything else of the pod stays. One that was never injected is returned as it is. */
export function uninjectPod<T extends PodTemplate>(pod: T): T {
  const { metadata = {}, spec = {} } = pod
  const { initContainers = [], containers = [], volumes = [] } = spec
  const sidecar = initContainers.find(({ name }) => name === SIDECAR)
  const known = readAppProbes(sidecar?.env?.find(({ name }) => name === APP_PROBES)?.value)
  const restore = (container: Container) => restoreProbes(container, known)
  const isOurs = initContainers.some(({ name }) => OWN_NAMES.includes(name))
  const others = volumes.filter(({ name }) => !OWN_VOLUMES.includes(name))
  if (!isOurs && others.length === volumes.length) return pod
  const { [LABEL_REVISION]: _, ...labels } = metadata.labels ?? {}
  const { labels: __, ...otherMetadata } = metadata
  const { initContainers: ___, volumes: ____, ...otherSpec } = spec
  const inits = initContainers.filter(({ name }) => !OWN_NAMES.includes(name)).map(restore)
  return {
    ...pod,
    metadata: { ...otherMetadata, ...unlessEmpty('labels', labels) },
    spec: {
      ...otherSpec,
      ...unlessEmpty('initContainers', inits),
      containers: containers.map(restore),
      ...unlessEmpty('volumes', others),
    },
  }
}

function unlessEmpty(key: string, value: object): object {
  return Object.keys(value).length === 0 ? {} : { [key]: value }
}

/** Containers that can take the redirect away. */
function findLoosers({ spec = {} }: PodTemplate): readonly string[] {
  return [...(spec.initContainers ?? []), ...(spec.containers ?? [])].flatMap((container) => {
    const { privileged, capabilities } = (container.securityContext ?? {}) as {
      privileged?: boolean
      capabilities?: { add?: readonly string[] }
    }
    const isMighty = capabilities?.add?.some((one) =>
      /^(?:CAP_)?(?:NET_ADMIN|SYS_ADMIN|SYS_MODULE|BPF|ALL)$/i.test(one),
    )
    if (privileged !== true && isMighty !== true) return []
    return [
      `container ${container.name} may change the pod's network rules, and so pass by its sidecar`,
    ]
  })
}

function warningsOf(ports: readonly number[]): readonly string[] {
  if (ports.length === 0) return []
  return [
    `connections to port ${ports.join(', ')} are not captured: no policy guards them (${EXCLUDE_INBOUND_PORTS})`,
  ]
}
