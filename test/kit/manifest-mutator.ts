/**
 * Seeded mistakes: an object with one of its fields dropped, renamed, retyped, or given a value from elsewhere.
 * The same seed gives the same objects.
 */

type Json = unknown

interface Place {
  readonly parent: Record<string, Json> | Json[]
  readonly key: string | number
  readonly path: string
}

export interface Mutant {
  readonly object: Record<string, Json>
  /** What was done, for the test's message. */
  readonly change: string
}

/** Mulberry32: small, and good enough to choose fields. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let x = Math.imul(state ^ (state >>> 15), state | 1)
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
    return ((x ^ (x >>> 14)) >>> 0) / 4294967296
  }
}

const WORDS = [
  '',
  '*',
  'a*b',
  'x*',
  '*x',
  '/a/b',
  '/a/../b',
  '/a/{*}',
  'GET',
  'get',
  '10.0.0.0/8',
  '10.0.0.1/8',
  '::1',
  '::ffff:1.2.3.4',
  '01.2.3.4',
  'spiffe://example.org/ns/a/sa/b',
  'spiffe://example.org',
  'example.org',
  'Example.org.',
  'a b',
  'é',
  '80',
  '080',
  '70000',
  'ALLOW',
  'Deny',
  'name.with.dots',
  '-dash',
  'a'.repeat(64),
  'a'.repeat(300),
  'request.headers[x]',
  'source.namespace',
  'destination.port',
]
const OTHERS = [0, 1, -1, 80, 65536, 1.5, true, false, null, [], {}, [''], [{}], { a: 1 }]

export function mutate(original: Record<string, Json>, random: () => number): Mutant {
  const object = structuredClone(original)
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T
  const place = pick(placesOf(object))
  const change = pick([drop, rename, retype, reword, reword, repeat])
  return { object, change: `${place.path}: ${change(place, pick)}` }
}

type Pick = <T>(list: readonly T[]) => T

function drop({ parent, key }: Place): string {
  if (Array.isArray(parent)) parent.splice(Number(key), 1)
  else delete parent[key]
  return 'dropped'
}

function rename({ parent, key }: Place, pick: Pick): string {
  if (Array.isArray(parent)) return drop({ parent, key, path: '' })
  const value = parent[key]
  delete parent[key]
  const name = `${key}${pick(['x', 's', '.', '/', ' '])}`
  parent[name] = value
  return `renamed to ${name}`
}

function retype({ parent, key }: Place, pick: Pick): string {
  const value = pick(OTHERS)
  ;(parent as Record<string | number, Json>)[key] = structuredClone(value)
  return `set to ${JSON.stringify(value)}`
}

function reword({ parent, key }: Place, pick: Pick): string {
  const value = pick(WORDS)
  ;(parent as Record<string | number, Json>)[key] = value
  return `set to ${JSON.stringify(value)}`
}

function repeat(place: Place, pick: Pick): string {
  const { parent, key } = place
  if (!Array.isArray(parent)) return retype(place, pick)
  parent.push(structuredClone(parent[Number(key)]))
  return 'repeated'
}

/** Every field, but for what decides where the object goes. */
function placesOf(value: Json, path = ''): Place[] {
  if (typeof value !== 'object' || value === null) return []
  const parent = value as Place['parent']
  return Object.entries(parent).flatMap(([name, child]): Place[] => {
    const key = Array.isArray(parent) ? Number(name) : name
    const here = path === '' ? name : `${path}.${name}`
    if (['apiVersion', 'kind', 'metadata.namespace'].includes(here)) return []
    return [{ parent, key, path: here }, ...placesOf(child, here)]
  })
}
