/**
 * The xDS cache as text: a digest line, then one JSON document. In: last-good resources. Out: text, and back.
 * A text that was cut, edited or written for another workload reads as undefined with a reason, never as a part.
 */
import { createHash } from 'node:crypto'
import { PUBLISH_ORDER, type TypeUrl, type XdsResource } from '../../../common/xds.ts'
import type { Resources } from './store.ts'
import { isCacheable } from './svid-secret.ts'

export type CacheRead =
  | { readonly ok: true; readonly resources: Resources }
  | { readonly ok: false; readonly reason: string }

interface Document {
  readonly format: 1
  readonly nodeId: string
  readonly resources: Readonly<
    Record<string, readonly { name: string; version: string; value: string }[]>
  >
}

export function toCacheText(nodeId: string, resources: Resources): string {
  const entries = [...resources].map(([typeUrl, list]) => [
    typeUrl,
    [...list.values()]
      .filter((resource) => isCacheable(typeUrl, resource))
      .map(({ name, version, value }) => ({
        name,
        version,
        value: Buffer.from(value).toString('base64'),
      })),
  ])
  const document: Document = { format: 1, nodeId, resources: Object.fromEntries(entries) }
  const json = JSON.stringify(document)
  return `${digestOf(json)}\n${json}`
}

export function fromCacheText(nodeId: string, text: string): CacheRead {
  const end = text.indexOf('\n')
  const json = text.slice(end + 1)
  if (end < 0 || text.slice(0, end) !== digestOf(json))
    return { ok: false, reason: 'its digest is wrong' }
  // The digest holds, so this is what toCacheText wrote; only the format may be another version's.
  const document = JSON.parse(json) as Document
  if (document.format !== 1) return { ok: false, reason: 'its format is unknown' }
  if (document.nodeId !== nodeId) return { ok: false, reason: 'it is another workload’s' }
  const resources = new Map<TypeUrl, ReadonlyMap<string, XdsResource>>()
  for (const typeUrl of PUBLISH_ORDER) {
    const list = (document.resources[typeUrl] ?? []).map(({ name, version, value }) => {
      const resource = { name, version, value: new Uint8Array(Buffer.from(value, 'base64')) }
      return [name, resource] as const
    })
    if (list.length > 0) resources.set(typeUrl, new Map(list))
  }
  return { ok: true, resources }
}

function digestOf(json: string): string {
  return `sha256:${createHash('sha256').update(json).digest('hex')}`
}
