/**
 * Golden folders: `test/golden/<room>/<case>/in.yaml` → `out.*`. Adding a case = adding a folder.
 * In: a room and a function from a case to its outputs. Out: one subtest per case; a missing, differing or orphaned
 * output fails. With TAP_SNAPSHOT=1 outputs are written and orphans removed instead (`make golden`, then read the diff).
 */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { stringify } from 'yaml'

const GOLDEN = join(import.meta.dirname, '../golden')

export interface GoldenCase {
  readonly name: string
  readonly folder: string
  /** Text of one of the case's inputs; default `in.yaml`. */
  read(file?: string): string
}

/** File name → what it must hold: text as it is, `.json` as JSON, anything else as YAML. `undefined`: no such file. */
export type GoldenOutputs = Readonly<Record<string, unknown>>

/** Runs all cases of a room. Names starting with `in` and README.md are inputs; every other file is an output. */
export async function golden(
  t: Test,
  room: string,
  produce: (goldenCase: GoldenCase) => GoldenOutputs | Promise<GoldenOutputs>,
  root = GOLDEN,
): Promise<void> {
  const names = readdirSync(join(root, room), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort()
  if (names.length === 0) t.fail(`no case in ${room}`)
  for (const name of names) {
    await t.test(name, async (t) => {
      const folder = join(root, room, name)
      const read = (file = 'in.yaml') => readFileSync(join(folder, file), 'utf8')
      const outputs = await produce({ name, folder, read })
      compare(t, folder, outputs)
    })
  }
}

/** Holds the outputs of one case against its folder, or writes them with TAP_SNAPSHOT=1. */
export function compare(
  t: Pick<Test, 'equal' | 'fail' | 'pass'>,
  folder: string,
  outputs: GoldenOutputs,
): void {
  const wanted = renderAll(outputs)
  const present = readdirSync(folder).filter((file) => !isInput(file))
  const orphans = present.filter((file) => !wanted.has(file))
  if (wanted.size === 0) t.fail('the case produces nothing')
  if (process.env.TAP_SNAPSHOT === '1') {
    for (const file of orphans) rmSync(join(folder, file))
    for (const [file, text] of wanted) writeFileSync(join(folder, file), text)
    t.pass(`wrote ${wanted.size} files`)
    return
  }
  for (const file of orphans) t.fail(`${file} is an orphan: nothing produces it`)
  for (const [file, text] of wanted) {
    if (present.includes(file)) t.equal(readFileSync(join(folder, file), 'utf8'), text, file)
    else t.fail(`${file} is missing; run with TAP_SNAPSHOT=1 and read what it writes`)
  }
}

function renderAll(outputs: GoldenOutputs): Map<string, string> {
  const wanted = new Map<string, string>()
  for (const [file, value] of Object.entries(outputs)) {
    if (isInput(file)) throw new Error(`${file}: an output can't have an input's name`)
    if (value !== undefined) wanted.set(file, render(file, value))
  }
  return wanted
}

function isInput(file: string): boolean {
  return /^in(\.|$|-)/.test(file) || file === 'README.md'
}

function render(file: string, value: unknown): string {
  if (typeof value === 'string') return value.endsWith('\n') || value === '' ? value : `${value}\n`
  if (file.endsWith('.json')) return `${JSON.stringify(value, null, 2)}\n`
  return stringify(value, { lineWidth: 0, aliasDuplicateObjects: false })
}
