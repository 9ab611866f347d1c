/**
 * Whether a pod gets a sidecar: labels and annotations in; yes, no and why, or a refusal, out.
 * Attacker's eye: whoever writes a pod may leave Postern out by saying so, where all can see it; nobody does so by the way,
 * by a pod that only looks guarded, or by one that opens the sidecar's volumes to the app.
 */
import { PROXY_PORTS } from '../translate/captured-ports.ts'
import { INIT, LABEL_INJECT, PROXY_UID, SIDECAR, TOKEN_AUDIENCE, VOLUMES } from './names.ts'
import type { Container, PodMetadata, PodSpec, PodTemplate, Refusal } from './pod-spec.ts'

export type Decision =
  | { readonly kind: 'inject' }
  | { readonly kind: 'leave'; readonly reason: string }
  | { readonly kind: 'refuse'; readonly refusals: readonly Refusal[] }

const MIRROR = 'kubernetes.io/config.mirror'
const OWN_NAMES: readonly string[] = [SIDECAR, INIT]
const OWN_VOLUMES: readonly string[] = Object.values(VOLUMES)

export function decide({ metadata = {}, spec = {} }: PodTemplate): Decision {
  const wishes = wishesOf(metadata)
  const unknown = wishes.find((wish) => wish !== 'enabled' && wish !== 'disabled')
  if (unknown !== undefined) return refuse(notUnderstood(unknown))
  if (wishes.includes('disabled')) return leave(spec, 'it opts out')
  if (spec.hostNetwork === true) return leave(spec, "it is on the node's network")
  const refusals = [
    ...findStrangers(metadata, spec),
    ...findOnlookers(spec),
    ...findIntruders(spec),
    ...findTokens(spec),
  ]
  return refusals.length > 0 ? { kind: 'refuse', refusals } : { kind: 'inject' }
}

function wishesOf({ labels = {}, annotations = {} }: PodMetadata): readonly string[] {
  return [labels[LABEL_INJECT], annotations[LABEL_INJECT]].filter((wish) => wish !== undefined)
}

/** One without a sidecar of ours must not look as if it had one. */
function leave(spec: PodSpec, reason: string): Decision {
  const at = allOf(spec).find(({ container }) => OWN_NAMES.includes(container.name))
  if (at === undefined) return { kind: 'leave', reason }
  return refuse({
    field: at.field,
    message: `the name ${at.container.name} is Postern's, and the pod is not injected: ${reason}`,
    remedy: 'give the container another name',
  })
}

function refuse(...refusals: readonly Refusal[]): Decision {
  return { kind: 'refuse', refusals }
}

function notUnderstood(wish: string): Refusal {
  return {
    field: `metadata.labels[${LABEL_INJECT}]`,
    message: `"${wish}" is neither enabled nor disabled`,
    remedy: 'write enabled or disabled',
  }
}

/** Pods that can't have a sidecar at all. */
function findStrangers({ annotations = {} }: PodMetadata, { os }: PodSpec): readonly Refusal[] {
  const remedy = `label it ${LABEL_INJECT}: disabled`
  const refusals: Refusal[] = []
  if (annotations[MIRROR] !== undefined) {
    const message = 'the pod stands in for a static one, which no API server can change'
    refusals.push({ field: `metadata.annotations[${MIRROR}]`, message, remedy })
  }
  if (os?.name === 'windows')
    refusals.push({ field: 'spec.os.name', message: 'the sidecar needs Linux', remedy })
  return refusals
}

/** Who sees the sidecar's processes and has its user reads its key by /proc. */
function findOnlookers(spec: PodSpec): readonly Refusal[] {
  const shared = (['hostPID', 'shareProcessNamespace'] as const).filter((f) => spec[f] === true)
  return shared.map((field) => ({
    field: `spec.${field}`,
    message: "the sidecar's key could be read by its processes",
    remedy: `remove it, or label the pod ${LABEL_INJECT}: disabled`,
  }))
}

/** Containers that take what is the sidecar's: its name, its user, its ports, its volumes. */
function findIntruders(spec: PodSpec): readonly Refusal[] {
  return allOf(spec).flatMap((placed) => {
    const { container, field, isInit } = placed
    if (!OWN_NAMES.includes(container.name))
      return [...findProxyUser(placed, spec), ...findTaken(placed)]
    // Among the init containers it is replaced by ours.
    if (isInit) return []
    const message = `the name ${container.name} is Postern's`
    return [{ field: `${field}.name`, message, remedy: 'choose another name' }]
  })
}

/** Who reads such a token may ask for the pod's certificate, with a key of their own. */
function findTokens({ volumes = [] }: PodSpec): readonly Refusal[] {
  return volumes.flatMap((volume, i) => {
    const isOurs = OWN_VOLUMES.includes(volume.name)
    if (isOurs || !JSON.stringify(volume).includes(`"audience":"${TOKEN_AUDIENCE}"`)) return []
    const message = `tokens for the audience ${TOKEN_AUDIENCE} are the sidecar's alone`
    return [{ field: `spec.volumes[${i}]`, message, remedy: 'remove the volume' }]
  })
}

function findProxyUser({ container, field }: Placed, spec: PodSpec): readonly Refusal[] {
  const user = container.securityContext?.runAsUser ?? spec.securityContext?.runAsUser
  if (user !== PROXY_UID) return []
  return [
    {
      field: `${field}.securityContext.runAsUser`,
      message: `${PROXY_UID} is the proxy's user, whose connections are not captured`,
      remedy: 'choose another user',
    },
  ]
}

function findTaken({ container, field }: Placed): readonly Refusal[] {
  const { ports = [], volumeMounts = [] } = container
  return [
    ...ports.flatMap(({ containerPort }, i) => {
      if (!PROXY_PORTS.has(containerPort)) return []
      const message = `${containerPort} is the proxy's`
      const remedy = 'choose another port'
      return [{ field: `${field}.ports[${i}].containerPort`, message, remedy }]
    }),
    ...volumeMounts.flatMap(({ name }, i) => {
      if (!OWN_VOLUMES.includes(name)) return []
      const message = `the volume ${name} is the sidecar's alone`
      return [{ field: `${field}.volumeMounts[${i}].name`, message, remedy: 'remove it' }]
    }),
  ]
}

interface Placed {
  readonly container: Container
  readonly field: string
  readonly isInit: boolean
}

function allOf({ containers = [], initContainers = [] }: PodSpec): readonly Placed[] {
  const place = (list: readonly Container[], name: string, isInit: boolean) =>
    list.map((container, i) => ({ container, field: `spec.${name}[${i}]`, isInit }))
  return [
    ...place(initContainers, 'initContainers', true),
    ...place(containers, 'containers', false),
  ]
}
