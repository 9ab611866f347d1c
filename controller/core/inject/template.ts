/** JSON of a pod, or of the template of one → what injection takes; undefined: it has not the form. Nulls count as absent. */
import { isRecord } from '../crd/finding.ts'
import type { PodTemplate } from './pod-spec.ts'

const LISTS = ['containers', 'initContainers', 'volumes'] as const
const CONTAINER_LISTS = ['ports', 'env', 'volumeMounts'] as const

export function readTemplate(value: unknown): PodTemplate | undefined {
  const json = withoutNulls(value)
  if (!isRecord(json) || !isRecord(json.spec) || !isAbsentOr(json.metadata, isRecord))
    return undefined
  const { spec, metadata = {} } = json as { spec: Record<string, unknown>; metadata?: object }
  const { labels, annotations } = metadata as Record<string, unknown>
  const holds =
    isAbsentOr(labels, isRecord) &&
    isAbsentOr(annotations, isRecord) &&
    isAbsentOr(spec.securityContext, isRecord) &&
    isAbsentOr(spec.os, isRecord) &&
    LISTS.every((key) => isAbsentOr(spec[key], isNamedList)) &&
    ['containers', 'initContainers'].every((key) => containersOf(spec[key]).every(isContainer))
  return holds ? (json as PodTemplate) : undefined
}

function containersOf(value: unknown): readonly Record<string, unknown>[] {
  return Array.isArray(value) ? value : []
}

function isContainer(container: Record<string, unknown>): boolean {
  return (
    CONTAINER_LISTS.every((key) => isAbsentOr(container[key], isRecordList)) &&
    isAbsentOr(container.securityContext, isSecurityContext) &&
    ['livenessProbe', 'readinessProbe', 'startupProbe'].every((key) =>
      isAbsentOr(container[key], isProbe),
    )
  )
}

function isSecurityContext(value: unknown): boolean {
  if (!isRecord(value)) return false
  const { capabilities } = value
  if (!isAbsentOr(capabilities, isRecord)) return false
  const { add } = (capabilities ?? {}) as { add?: unknown }
  return isAbsentOr(add, (list) => Array.isArray(list) && list.every(isText))
}

function isProbe(value: unknown): boolean {
  if (!isRecord(value)) return false
  const { httpGet, tcpSocket, grpc } = value
  if (![httpGet, tcpSocket, grpc].every((handler) => isAbsentOr(handler, isRecord))) return false
  if (httpGet === undefined) return true
  const { path, httpHeaders } = httpGet as Record<string, unknown>
  return isAbsentOr(path, isText) && isAbsentOr(httpHeaders, isNamedList)
}

function isNamedList(value: unknown): boolean {
  return isRecordList(value) && value.every(({ name }) => typeof name === 'string')
}

function isRecordList(value: unknown): value is readonly Record<string, unknown>[] {
  return Array.isArray(value) && value.every(isRecord)
}

function isText(value: unknown): boolean {
  return typeof value === 'string'
}

function isAbsentOr(value: unknown, holds: (value: unknown) => boolean): boolean {
  return value === undefined || holds(value)
}

function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls)
  if (!isRecord(value)) return value
  const kept = Object.entries(value).filter(([, child]) => child !== null)
  return Object.fromEntries(kept.map(([key, child]) => [key, withoutNulls(child)]))
}
