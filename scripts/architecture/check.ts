/**
 * The house's rules over a whole tree (STYLE §3), as a pure function: the architecture test feeds it the repository,
 * its unit test feeds it trees that break one rule each.
 * In: path → source of every TypeScript file, the test globs and the rooms. Out: every violation, with its rule.
 */
import { posix } from 'node:path'
import { type Import, importsOf } from './imports.ts'
import { forbidden, placeOf } from './layers.ts'
import { impurities } from './purity.ts'
import { roomOf } from './rooms.ts'

export type Rule =
  | 'place'
  | 'direction'
  | 'target'
  | 'cycle'
  | 'purity'
  | 'size'
  | 'header'
  | 'test'
  | 'room'

export interface Violation {
  readonly rule: Rule
  readonly path: string
  readonly message: string
}

export interface House {
  /** Path from the root → source; all TypeScript that is written by hand. */
  readonly files: ReadonlyMap<string, string>
  /** Files that may be imported but are not checked: generated code. */
  readonly generated: ReadonlySet<string>
  /** Code that is not TypeScript, so that no rule sees into it. Absent: none. */
  readonly strays?: ReadonlySet<string>
  /** Globs that `make test` runs. */
  readonly testGlobs: readonly string[]
  readonly rooms: Readonly<Record<string, string>>
}

export const MAX_LINES = 400
export const MAX_TEST_LINES = 600
/** What is read first stays short (STYLE §1). */
const MAX_OF: Readonly<Record<string, number>> = {
  'controller/main.ts': 150,
  'sidecar/main.ts': 150,
  'sidecar/check.ts': 80,
}

export function checkHouse(house: House): Violation[] {
  const imports = new Map<string, Import[]>()
  for (const [path, source] of house.files) imports.set(path, importsOf(path, source))
  const single = [...house.files].flatMap(([path, source]) => [
    ...checkImports(house, path, imports.get(path) ?? []),
    ...checkPurity(path, source),
    ...checkShape(path, source),
    ...checkIsRun(house, path),
  ])
  const strays = [...(house.strays ?? [])].map((path) => ({
    rule: 'place' as const,
    path,
    message: 'is no .ts file: the rules of the house would not see into it',
  }))
  return [...single, ...strays, ...checkRooms(house), ...findCycles(imports)]
}

function checkImports(house: House, path: string, imports: readonly Import[]): Violation[] {
  const from = placeOf(path)
  if (from === undefined)
    return [{ rule: 'place', path, message: 'stands in no room of the house' }]
  return imports.flatMap((i): Violation[] => {
    if (i.path === undefined) return []
    const at = `line ${i.line} imports ${i.path}`
    const known = house.files.has(i.path) || house.generated.has(i.path)
    const to = placeOf(i.path)
    if (!known || to === undefined)
      return [{ rule: 'target', path, message: `${at}: no such file` }]
    const why = forbidden(from, to, i.path)
    return why === undefined ? [] : [{ rule: 'direction', path, message: `${at}: ${why}` }]
  })
}

function checkPurity(path: string, source: string): Violation[] {
  const place = placeOf(path)
  const isCore = place?.kind === 'program' && place.layer === 'core'
  if (!isCore && place?.kind !== 'common') return []
  return impurities(path, source, isCore ? 'core' : 'common').map(({ line, message }) => ({
    rule: 'purity',
    path,
    message: `line ${line}: ${message}`,
  }))
}

function checkShape(path: string, source: string): Violation[] {
  const violations: Violation[] = []
  const max = MAX_OF[path] ?? (path.startsWith('test/') ? MAX_TEST_LINES : MAX_LINES)
  const lines = source.split('\n').length - 1
  if (lines > max)
    violations.push({ rule: 'size', path, message: `${lines} lines, at most ${max}` })
  if (!path.endsWith('.test.ts') && !/^(?:#![^\n]*\n)?\/\*\*/.test(source)) {
    violations.push({ rule: 'header', path, message: 'does not start with a header comment' })
  }
  return violations
}

function checkIsRun(house: House, path: string): Violation[] {
  if (!path.endsWith('.test.ts')) return []
  if (house.testGlobs.some((glob) => posix.matchesGlob(path, glob))) return []
  return [{ rule: 'test', path, message: 'no group of scripts/tests/groups.ts runs it' }]
}

function checkRooms(house: House): Violation[] {
  const present = new Set<string>()
  for (const path of house.files.keys()) {
    const room = roomOf(path)
    if (room !== undefined && !room.startsWith('test')) present.add(room)
  }
  const unnamed = [...present].filter((room) => !(room in house.rooms))
  const empty = Object.keys(house.rooms).filter((room) => !present.has(room))
  return [
    ...unnamed.map((path) => ({
      rule: 'room' as const,
      path,
      message: 'is not in scripts/architecture/rooms.ts: which question does it answer?',
    })),
    ...empty.map((path) => ({
      rule: 'room' as const,
      path,
      message: 'is named but holds no source',
    })),
  ]
}

/** Each group of files that import each other in a circle, once, starting at its first file by name. */
function findCycles(imports: ReadonlyMap<string, readonly Import[]>): Violation[] {
  const state = new Map<string, 'open' | 'done'>()
  const violations: Violation[] = []
  const visit = (path: string, trail: readonly string[]): void => {
    if (state.get(path) === 'done') return
    const here = [...trail, path]
    if (state.get(path) === 'open') {
      const circle = here.slice(here.indexOf(path))
      violations.push({ rule: 'cycle', path, message: circle.join(' → ') })
      return
    }
    state.set(path, 'open')
    for (const next of imports.get(path) ?? []) {
      if (next.path !== undefined && imports.has(next.path)) visit(next.path, here)
    }
    state.set(path, 'done')
  }
  for (const path of [...imports.keys()].sort()) visit(path, [])
  return violations
}
