/**
 * Builds xDS resources and snapshots: content-hash versions, one way for both programs, so that the generation
 * that a sidecar computes over what it holds equals the one that the controller published.
 * In: names and encoded messages. Out: XdsResource, XdsSnapshot. Equal content, equal version, whatever the order.
 */
import { createHash } from 'node:crypto'
import { PUBLISH_ORDER, type TypeUrl, type XdsResource, type XdsSnapshot } from './xds.ts'

const VERSION_DIGITS = 16

/** A resource with its content-hash version. `value` is the encoded message without its Any. */
export function toXdsResource(name: string, value: Uint8Array): XdsResource {
  const version = createHash('sha256').update(value).digest('hex').slice(0, VERSION_DIGITS)
  return { name, version, value }
}

/** A snapshot whose version is the generation of exactly these resources. Types and names come out sorted. */
export function toXdsSnapshot(resources: ReadonlyMap<TypeUrl, Iterable<XdsResource>>): XdsSnapshot {
  const sorted = new Map<TypeUrl, ReadonlyMap<string, XdsResource>>()
  for (const typeUrl of PUBLISH_ORDER) {
    const list = [...(resources.get(typeUrl) ?? [])].sort((a, b) => compareText(a.name, b.name))
    if (list.length > 0) sorted.set(typeUrl, new Map(list.map((r) => [r.name, r])))
  }
  return { version: generationOf(sorted), resources: sorted }
}

/** The generation: lower-case hex SHA-256 over type, name and version of every resource, first 16 digits. */
export function generationOf(
  resources: ReadonlyMap<TypeUrl, ReadonlyMap<string, XdsResource>>,
): string {
  const hash = createHash('sha256')
  for (const typeUrl of PUBLISH_ORDER) {
    const names = [...(resources.get(typeUrl)?.keys() ?? [])].sort(compareText)
    for (const name of names) {
      const version = resources.get(typeUrl)?.get(name)?.version ?? ''
      hash.update(JSON.stringify([typeUrl, name, version])).update('\n')
    }
  }
  return hash.digest('hex').slice(0, VERSION_DIGITS)
}

/** Code-unit order: the same on every machine, unlike `localeCompare`. */
function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
