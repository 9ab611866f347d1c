/**
 * The direction of imports: main → adapters → runtime → core → common, each may import to its right; main and adapters
 * also host, which imports common only.
 * In: a path. Out: the place it has in the house, and whether one place may import another.
 */

export type Program = 'controller' | 'sidecar'
export type Layer = 'main' | 'adapters' | 'runtime' | 'core'

/** Where a file stands. `tools`: demo, drills, bench, scripts, tests: they may import anything, nothing imports them. */
export type Place =
  | { readonly kind: 'common' }
  | { readonly kind: 'generated-protos' }
  /** What the adapters of both programs do with the machine: private files, locks. */
  | { readonly kind: 'host' }
  | {
      readonly kind: 'program'
      readonly program: Program
      readonly layer: Layer
      /** The adapter's folder; adapters never import each other. */
      readonly adapter: string | undefined
    }
  | { readonly kind: 'cli' }
  | { readonly kind: 'tools' }

const RANK: Readonly<Record<Layer, number>> = { main: 4, adapters: 3, runtime: 2, core: 1 }

/** Files beside a program's folders that are not part of its composition root. */
const TOP_LEVEL: Readonly<Record<string, Layer>> = {
  'controller/config.ts': 'core',
  'sidecar/config.ts': 'core',
  'sidecar/check.ts': 'runtime',
  'sidecar/ports.ts': 'core', // interfaces and values only
}

/** The place of a file; undefined for files of no room that we know. */
export function placeOf(path: string): Place | undefined {
  const [top = '', second = '', third = ''] = path.split('/')
  if (path.startsWith('proto/gen/')) return { kind: 'generated-protos' }
  if (top === 'common') return { kind: 'common' }
  if (top === 'host') return { kind: 'host' }
  if (top === 'cli') return { kind: 'cli' }
  if (['demo', 'drills', 'bench', 'scripts', 'test'].includes(top)) return { kind: 'tools' }
  if (top !== 'controller' && top !== 'sidecar') return undefined
  const program = (layer: Layer, adapter?: string): Place => ({
    kind: 'program',
    program: top,
    layer,
    adapter,
  })
  if (second === 'adapters') return program('adapters', third)
  if (second === 'runtime' || second === 'core') return program(second)
  if (third === '') return program(TOP_LEVEL[path] ?? 'main')
  return undefined
}

/** Why `from` may not import `to`; undefined when it may. `path` is the imported file's. */
export function forbidden(from: Place, to: Place, path: string): string | undefined {
  if (from.kind === 'tools' || to.kind === 'generated-protos') return undefined
  if (to.kind === 'tools') return 'the product never imports demo, drills, bench, scripts or tests'
  if (to.kind === 'common') return undefined
  if (from.kind === 'common' || from.kind === 'generated-protos') {
    return 'common imports no other room'
  }
  if (from.kind === 'host') {
    return to.kind === 'host' ? undefined : 'host imports only common'
  }
  if (from.kind === 'cli') return forbiddenForCli(to, path)
  if (to.kind === 'cli') return 'a program never imports the command line'
  return to.kind === 'host' ? forbiddenOfHost(from) : forbiddenInProgram(from, to)
}

function forbiddenOfHost({ layer }: InProgram): string | undefined {
  const mayUse = layer === 'main' || layer === 'adapters'
  return mayUse ? undefined : `${layer} never touches the machine; give it a port`
}

/** A program to run; the sidecar's answer without a sidecar (decision 0009). */
const CLI_DOORS = new Set(['controller/main.ts', 'sidecar/main.ts', 'sidecar/explain.ts'])

function forbiddenForCli(to: Place, path: string): string | undefined {
  if (to.kind !== 'program') return undefined
  if (CLI_DOORS.has(path)) return undefined
  if (to.program === 'controller' && to.layer === 'core') return undefined
  return 'cli imports controller/core, common, and of a program only its main.ts (and sidecar/explain.ts)'
}

type InProgram = Extract<Place, { kind: 'program' }>

function forbiddenInProgram(from: InProgram, to: InProgram): string | undefined {
  if (from.program !== to.program) return 'controller and sidecar never import each other'
  if (RANK[from.layer] < RANK[to.layer]) return `${from.layer} never imports ${to.layer}`
  if (from.layer === 'adapters' && to.layer === 'adapters' && from.adapter !== to.adapter) {
    return 'adapters never import each other'
  }
  return undefined
}
