/**
 * How sidecars are injected, the same for all pods: what the chart's values say, or the defaults. JSON in; settings, or every
 * mistake at once, out.
 */
import { isRecord } from '../crd/finding.ts'
import type { Json } from './pod-spec.ts'

export interface InjectionSettings {
  readonly sidecarImage: string
  readonly initImage: string
  readonly imagePullPolicy: 'Always' | 'IfNotPresent' | 'Never'
  /** `HOST:PORT` of the controller, as pods reach it. */
  readonly controller: string
  /** Value of the label `postern.dev/rev` of injected pods. */
  readonly revision: string
  readonly logLevel: string
  /** How long open connections may go on at the end. */
  readonly drainSeconds: number
  readonly concurrency: number
  readonly sidecarResources: Json
  readonly initResources: Json
}

export function defaultSettings(version: string): InjectionSettings {
  return {
    sidecarImage: `docker.io/postern/sidecar:${version}`,
    initImage: `docker.io/postern/init:${version}`,
    imagePullPolicy: 'IfNotPresent',
    controller: 'postern-controller.postern-system.svc:15012',
    revision: 'default',
    logLevel: 'info',
    drainSeconds: 5,
    concurrency: 2,
    sidecarResources: {
      requests: { cpu: '50m', memory: '192Mi' },
      limits: { memory: '512Mi' },
    },
    initResources: { requests: { cpu: '10m', memory: '16Mi' }, limits: { memory: '64Mi' } },
  }
}

const LABEL_VALUE = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/
const ADDRESS = /^[A-Za-z0-9.-]+:\d{1,5}$/
const IMAGE = /^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,254}$/

type Check = readonly [holds: (value: unknown) => boolean, wanted: string]

const isOf = (pattern: RegExp) => (value: unknown) =>
  typeof value === 'string' && pattern.test(value)
const isNumber = (least: number, most: number) => (value: unknown) =>
  Number.isInteger(value) && Number(value) >= least && Number(value) <= most

const CHECKS: Readonly<Record<keyof InjectionSettings, Check>> = {
  sidecarImage: [isOf(IMAGE), 'an image'],
  initImage: [isOf(IMAGE), 'an image'],
  imagePullPolicy: [isOf(/^(?:Always|IfNotPresent|Never)$/), 'Always, IfNotPresent or Never'],
  controller: [isOf(ADDRESS), 'HOST:PORT'],
  revision: [isOf(LABEL_VALUE), 'a name of lower-case letters, digits and dashes'],
  logLevel: [isOf(/^(?:trace|debug|info|warn|error)$/), 'trace, debug, info, warn or error'],
  drainSeconds: [isNumber(0, 3600), 'a whole number from 0 to 3600'],
  concurrency: [isNumber(1, 128), 'a whole number from 1 to 128'],
  sidecarResources: [isRecord, 'requests and limits'],
  initResources: [isRecord, 'requests and limits'],
}

/** What `value` doesn't say stays as `defaults` have it. */
export function readSettings(
  value: unknown,
  defaults: InjectionSettings,
): { readonly settings: InjectionSettings } | { readonly mistakes: readonly string[] } {
  if (!isRecord(value)) return { mistakes: ['the settings of injection are no object'] }
  const mistakes = Object.entries(value).flatMap(([key, one]) => {
    if (!Object.hasOwn(CHECKS, key)) return [`${key} is no setting of injection`]
    const [holds, wanted] = CHECKS[key as keyof InjectionSettings]
    return holds(one) ? [] : [`${key} must be ${wanted}`]
  })
  return mistakes.length > 0 ? { mistakes } : { settings: { ...defaults, ...value } }
}
