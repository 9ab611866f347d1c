/**
 * Which edit comes next in the churn drill, from seeded chance: same seed, same story. Pure.
 */
import { BROKEN_KINDS, type World } from './churn-world.ts'

export type EditKind =
  | 'rules'
  | 'deny'
  | 'rego'
  | 'endpoint'
  | 'address'
  | 'guests'
  | 'broken'
  | 'lifetime'

/** Of 100 edits. */
const SHARES: readonly (readonly [EditKind, number])[] = [
  ['rules', 30],
  ['deny', 15],
  ['rego', 10],
  ['endpoint', 12],
  ['address', 15],
  ['guests', 8],
  ['broken', 8],
  ['lifetime', 2],
]

/** A number in [0, 1). */
export type Chance = () => number

/** mulberry32. */
export function seededChance(seed: number): Chance {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

export function pickEdit(chance: Chance): EditKind {
  let left = chance() * SHARES.reduce((sum, [, share]) => sum + share, 0)
  for (const [kind, share] of SHARES) {
    left -= share
    if (left < 0) return kind
  }
  return 'rules'
}

export function edited(world: World, kind: EditKind, chance: Chance): World {
  switch (kind) {
    case 'rules':
      return { ...world, rules: world.rules + 1 }
    case 'deny':
      return { ...world, deny: world.deny + 1 }
    case 'rego':
      return { ...world, rego: world.rego + 1 }
    case 'endpoint':
      return { ...world, hasSecondEndpoint: !world.hasSecondEndpoint }
    case 'address':
      return { ...world, sparePort: 21280 + ((world.sparePort + 1) % 20) }
    case 'guests':
      return { ...world, guests: !world.guests }
    case 'broken':
      return { ...world, broken: world.broken === 0 ? 1 + Math.floor(chance() * BROKEN_KINDS) : 0 }
    case 'lifetime':
      return { ...world, svidSeconds: world.svidSeconds === 20 ? 22 : 20 }
  }
}
