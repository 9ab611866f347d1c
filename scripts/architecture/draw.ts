/**
 * The drawing of the house, made from its imports: rooms and arrows per program as mermaid, and one table.
 * In: the house. Out: Markdown, equal for equal imports. An arrow that a longer way implies is left out of the drawing
 * (the table has them all), and so are arrows to common and from main, which everything and nothing would have.
 */
import type { House } from './check.ts'
import { importsOf } from './imports.ts'
import { placeOf } from './layers.ts'
import { roomOf } from './rooms.ts'

/** Room → rooms that it imports. */
type Arrows = ReadonlyMap<string, ReadonlySet<string>>

const PROGRAMS = ['controller', 'sidecar'] as const
const LAYERS = ['adapters', 'runtime', 'core'] as const

export function drawHouse(house: House): string {
  const arrows = arrowsOf(house)
  return [
    ...PROGRAMS.map((program) => drawProgram(program, arrows)),
    drawTable(house, arrows),
  ].join('\n\n')
}

export function arrowsOf(house: House): Arrows {
  const arrows = new Map<string, Set<string>>()
  for (const [path, source] of house.files) {
    const room = roomOf(path)
    if (room === undefined || !(room in house.rooms)) continue
    const targets = arrows.get(room) ?? new Set()
    arrows.set(room, targets)
    for (const { path: target } of importsOf(path, source)) {
      const to = target === undefined ? undefined : roomOf(target)
      if (to !== undefined && to !== room && to in house.rooms) targets.add(to)
    }
  }
  return arrows
}

/** A → B is left out when A reaches B over another room. */
export function withoutImplied(arrows: Arrows): Arrows {
  const reaches = (from: string, to: string, seen: Set<string>): boolean => {
    if (seen.has(from)) return false
    seen.add(from)
    return [...(arrows.get(from) ?? [])].some((next) => next === to || reaches(next, to, seen))
  }
  return new Map(
    [...arrows].map(([from, targets]) => {
      const direct = [...targets].filter((to) => {
        const others = [...targets].filter((other) => other !== to)
        return !others.some((other) => reaches(other, to, new Set([from])))
      })
      return [from, new Set(direct)]
    }),
  )
}

function drawProgram(program: string, arrows: Arrows): string {
  const mine = [...arrows.keys()].filter((room) => room.startsWith(`${program}/`)).sort()
  const inside = new Map(
    mine.map((room) => [
      room,
      new Set([...(arrows.get(room) ?? [])].filter((to) => mine.includes(to))),
    ]),
  )
  const groups = LAYERS.flatMap((layer) => {
    const rooms = mine.filter((room) => layerOf(room) === layer)
    if (rooms.length === 0) return []
    const nodes = rooms.map((room) => `    ${idOf(room)}["${room.slice(program.length + 1)}"]`)
    return [`  subgraph ${program}_${layer} ["${layer}"]`, ...nodes, '  end']
  })
  const edges = [...withoutImplied(inside)].flatMap(([from, targets]) =>
    [...targets].sort().map((to) => `  ${idOf(from)} --> ${idOf(to)}`),
  )
  return [`**${program}**`, '', '```mermaid', 'flowchart TD', ...groups, ...edges, '```'].join('\n')
}

function layerOf(room: string): string | undefined {
  const place = placeOf(`${room}/x.ts`)
  return place?.kind === 'program' ? place.layer : undefined
}

function drawTable(house: House, arrows: Arrows): string {
  const rows = Object.entries(house.rooms)
    .filter(([room]) => arrows.has(room))
    .map(([room, question]) => {
      const targets = [...(arrows.get(room) ?? [])].sort().map((to) => `\`${to}\``)
      return `| \`${room}\` | ${question} | ${targets.join(', ') || '–'} |`
    })
  return ['| room | question it answers | imports |', '| --- | --- | --- |', ...rows].join('\n')
}

function idOf(room: string): string {
  return room.replaceAll(/[^a-z0-9]/g, '_')
}
