/**
 * An object that makes pods → the same with its pod template injected, or taken apart again. Pods, workloads of apps/v1 and
 * batch/v1, and Lists of them; any other object is passed through.
 */
import { isRecord } from '../crd/finding.ts'
import { injectPod, uninjectPod } from './inject.ts'
import type { Json, PodTemplate, Refusal } from './pod-spec.ts'
import type { InjectionSettings } from './settings.ts'
import { readTemplate } from './template.ts'

/** Kind → where its pod template is; empty: it is one. */
const TEMPLATES: Readonly<Record<string, readonly string[]>> = {
  Pod: [],
  Deployment: ['spec', 'template'],
  StatefulSet: ['spec', 'template'],
  DaemonSet: ['spec', 'template'],
  ReplicaSet: ['spec', 'template'],
  ReplicationController: ['spec', 'template'],
  Job: ['spec', 'template'],
  CronJob: ['spec', 'jobTemplate', 'spec', 'template'],
}
const GROUPS = new Set(['v1', 'apps/v1', 'batch/v1'])

/** What became of one object. */
export interface Report {
  /** `Deployment shop/orders`. */
  readonly object: string
  readonly outcome: 'injected' | 'unchanged' | 'left' | 'refused' | 'uninjected'
  /** Why it was left alone; what to look at. */
  readonly notes: readonly string[]
  readonly refusals: readonly Refusal[]
}

export interface Manifest {
  readonly value: unknown
  /** Of the objects that make pods. */
  readonly reports: readonly Report[]
}

export function injectManifest(value: unknown, settings: InjectionSettings): Manifest {
  return eachTemplate(value, (template, object) => {
    const injection = injectPod(template, settings)
    const report = { object, notes: [], refusals: [] }
    if (injection.kind === 'left')
      return { template, report: { ...report, outcome: 'left', notes: [injection.reason] } }
    if (injection.kind === 'refused')
      return { template, report: { ...report, outcome: 'refused', refusals: injection.refusals } }
    const outcome = injection.patch.length === 0 ? 'unchanged' : 'injected'
    const pod = outcome === 'unchanged' ? template : injection.pod
    return { template: pod, report: { ...report, outcome, notes: injection.warnings } }
  })
}

export function uninjectManifest(value: unknown): Manifest {
  return eachTemplate(value, (template, object) => {
    const without = uninjectPod(template)
    const outcome = without === template ? 'unchanged' : 'uninjected'
    return { template: without, report: { object, outcome, notes: [], refusals: [] } }
  })
}

type Work = (
  template: PodTemplate,
  object: string,
) => { readonly template: PodTemplate; readonly report: Report }

function eachTemplate(value: unknown, work: Work): Manifest {
  if (!isRecord(value)) return { value, reports: [] }
  if (typeof value.kind === 'string' && value.kind.endsWith('List') && Array.isArray(value.items)) {
    const items = value.items.map((item) => eachTemplate(item, work))
    return {
      value: { ...value, items: items.map((item) => item.value) },
      reports: items.flatMap(({ reports }) => reports),
    }
  }
  const path = templatePath(value)
  const template = path?.reduce<unknown>((at, key) => (isRecord(at) ? at[key] : undefined), value)
  if (path === undefined) return { value, reports: [] }
  const read = readTemplate(template)
  const object = nameOf(value)
  if (read === undefined) return { value, reports: [malformed(object, path)] }
  const done = work(read, object)
  if (done.template === read) return { value, reports: [done.report] }
  return { value: replaceAt(value, path, done.template), reports: [done.report] }
}

function malformed(object: string, path: readonly string[]): Report {
  const refusal = {
    field: path.join('.'),
    message: 'the pod template has not the form that Kubernetes takes',
    remedy: 'correct it',
  }
  return { object, outcome: 'refused', notes: [], refusals: [refusal] }
}

function templatePath({ apiVersion, kind }: Json): readonly string[] | undefined {
  if (typeof kind !== 'string' || !GROUPS.has(String(apiVersion))) return undefined
  return Object.hasOwn(TEMPLATES, kind) ? TEMPLATES[kind] : undefined
}

function replaceAt(value: Json, [key, ...rest]: readonly string[], template: Json): Json {
  if (key === undefined) return template
  return { ...value, [key]: replaceAt((value[key] ?? {}) as Json, rest, template) }
}

function nameOf({ kind, metadata }: Json): string {
  const { namespace, name, generateName } = (metadata ?? {}) as Record<string, unknown>
  const place = namespace === undefined ? '' : `${namespace}/`
  return `${kind} ${place}${name ?? generateName ?? ''}`
}
