/**
 * The manifests of test/fixtures/manifests: `good/` is accepted by everyone; each of `bad/` has one mistake and says
 * in its head who finds it (`# judge:`) and what is to be found (`# problem: CODE field`).
 * Judges: `file` (the reader of the folder), `apiserver` (schema and rules, so an API server refuses it too),
 * `model` (only who sees the other objects or compiles the Rego).
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

export interface Fixture {
  readonly name: string
  readonly text: string
}

export interface BadFixture extends Fixture {
  readonly judge: 'file' | 'apiserver' | 'model'
  readonly problems: readonly { readonly code: string; readonly field: string }[]
}

const FOLDER = join(import.meta.dirname, '..', 'fixtures', 'manifests')

function read(kind: 'good' | 'bad'): Fixture[] {
  return readdirSync(join(FOLDER, kind))
    .sort()
    .map((name) => ({ name, text: readFileSync(join(FOLDER, kind, name), 'utf8') }))
}

export function goodFixtures(): Fixture[] {
  return read('good')
}

export function badFixtures(): BadFixture[] {
  return read('bad').map((fixture) => {
    const judge = /^# judge: (\w+)$/m.exec(fixture.text)?.[1] as BadFixture['judge'] | undefined
    const problems = [...fixture.text.matchAll(/^# problem: (ERR_\w+) ?(.*)$/gm)].map(
      ([, code = '', field = '']) => ({ code, field }),
    )
    if (judge === undefined || problems.length === 0) throw new Error(`${fixture.name}: no head`)
    return { ...fixture, judge, problems }
  })
}
