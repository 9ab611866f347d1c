/**
 * PeerAuthentications → the mTLS mode of each inbound port (DESIGN §4).
 * A port's own setting beats a mode, nearer beats wider, the Mesh's mode is last; among equals the oldest wins.
 */
import type { Problem } from '../../../common/errors.ts'
import type { PeerAuthentication } from '../crd/index.ts'
import type { MtlsMode } from '../model/mesh.ts'
import { attach, type Scope, type Subject } from './attachment.ts'
import { compareAge, refOf } from './objects.ts'

/** A workload with the ports that it serves. */
export interface PortSubject extends Subject {
  readonly ports: readonly number[]
  /** What comes for any port is taken, also for those that nobody declared. */
  readonly takesAnyPort?: true
}

export interface PeerAuthenticationTranslation {
  /** The mode of one inbound port of a workload. */
  modeOf(subject: Subject, port: number): MtlsMode
  /** The ports that have a setting of their own. */
  portsOf(subject: Subject): readonly number[]
  readonly problems: readonly Problem[]
}

interface Setting {
  readonly scope: Scope
  readonly selected: ReadonlySet<string>
  readonly object: PeerAuthentication
}

const NEAREST_FIRST: readonly Scope[] = ['workload', 'namespace', 'mesh']

export function translatePeerAuthentications(
  objects: readonly PeerAuthentication[],
  subjects: readonly PortSubject[],
  meshMode: MtlsMode,
): PeerAuthenticationTranslation {
  const problems: Problem[] = []
  const settings: Setting[] = []
  for (const object of [...objects].sort(compareAge)) {
    const attachment = attach(object, subjects)
    problems.push(...attachment.problems, ...unknownPorts(object, attachment.selected))
    const selected = new Set(attachment.selected.map(keyOf))
    settings.push({ scope: attachment.scope, selected, object })
  }
  const ranked = NEAREST_FIRST.flatMap((scope) => settings.filter((s) => s.scope === scope))
  const applyingTo = (subject: Subject) => ranked.filter((s) => s.selected.has(keyOf(subject)))
  return {
    modeOf: (subject, port) => firstMode(applyingTo(subject), port) ?? meshMode,
    portsOf: (subject) =>
      applyingTo(subject).flatMap(({ object }) =>
        Object.keys(object.spec.portLevelMtls ?? {}).map(Number),
      ),
    problems,
  }
}

function firstMode(ranked: readonly Setting[], port: number): MtlsMode | undefined {
  const byPort = ranked.map((s) => portMode(s.object, port))
  const byWorkload = ranked.map((s) => s.object.spec.mtls?.mode)
  return [...byPort, ...byWorkload].find((mode) => mode !== undefined)
}

function portMode(object: PeerAuthentication, port: number): MtlsMode | undefined {
  const modes = object.spec.portLevelMtls ?? {}
  return Object.hasOwn(modes, String(port)) ? modes[String(port)]?.mode : undefined
}

function unknownPorts(
  object: PeerAuthentication,
  selected: readonly PortSubject[],
): readonly Problem[] {
  if (selected.length === 0 || selected.some((s) => s.takesAnyPort)) return []
  const served = new Set(selected.flatMap((s) => s.ports).map(String))
  const unknown = Object.keys(object.spec.portLevelMtls ?? {}).filter((port) => !served.has(port))
  return unknown.sort().map((port) => ({
    code: 'ERR_TARGET_SELECTS_NOTHING' as const,
    object: refOf(object),
    field: `spec.portLevelMtls.${port}`,
    message: `no selected workload serves port ${port}`,
    remedy: 'use the inbound port of the WorkloadEntry, not the port of the app',
  }))
}

function keyOf(subject: Subject): string {
  return `${subject.namespace}/${subject.name}`
}
