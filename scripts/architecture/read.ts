/**
 * Reads the house from disk: every file of code that git knows or would add.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { GROUPS } from '../tests/groups.ts'
import type { House } from './check.ts'
import { ROOMS } from './rooms.ts'

/** Generated code may be imported and is checked by its generator's drift test, not here. */
export function isGenerated(path: string): boolean {
  return path.startsWith('proto/gen/') || path.includes('/generated/')
}

/** Plain JavaScript with a reason: what runs before there is a Node that takes TypeScript, and what tap loads itself. */
const NOT_TYPESCRIPT = new Set(['scripts/node-modules.mjs', 'test/coverage-map.mjs'])
const CODE = ['ts', 'mts', 'cts', 'tsx', 'js', 'mjs', 'cjs', 'jsx', 'node', 'wasm']

export function readHouse(root: string): House {
  const args = [
    'ls-files',
    '-z',
    '--cached',
    '--others',
    '--exclude-standard',
    ...CODE.map((e) => `*.${e}`),
  ]
  const paths = execFileSync('git', args, { cwd: root, encoding: 'utf8' })
    .split('\0')
    .filter(Boolean)
  const files = new Map<string, string>()
  const generated = new Set<string>()
  const strays = new Set<string>()
  for (const path of [...new Set(paths)].sort()) {
    if (!existsSync(join(root, path))) continue // deleted, and not yet committed so
    if (isGenerated(path)) generated.add(path)
    else if (NOT_TYPESCRIPT.has(path)) continue
    else if (!path.endsWith('.ts')) strays.add(path)
    else files.set(path, readFileSync(join(root, path), 'utf8'))
  }
  const testGlobs = GROUPS.flatMap((group) => group.globs)
  return { files, generated, strays, testGlobs, rooms: ROOMS }
}
