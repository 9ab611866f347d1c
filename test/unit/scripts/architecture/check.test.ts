/**
 * Every rule of the house fails on purpose: a tree that keeps it passes, the same tree with one thing wrong does not.
 */
import t from 'tap'
import { checkHouse, type House, type Rule } from '../../../../scripts/architecture/check.ts'

const HEADER = '/** A file. */\n'

/** A small house that keeps every rule. */
const GOOD: Readonly<Record<string, string>> = {
  'common/errors.ts': `import type { X } from '@grpc/grpc-js'\nexport const a = 1`,
  'host/file.ts': `import { a } from '../common/errors.ts'\nimport fs from 'node:fs'`,
  'controller/core/model/mesh.ts': `import { a } from '../../../common/errors.ts'
import { createHash } from 'node:crypto'
import { x } from '../../../proto/gen/x.js'`,
  'controller/core/xds/listener.ts': `import { b } from '../model/mesh.ts'`,
  'controller/runtime/publish.ts': `import { c } from '../core/xds/listener.ts'`,
  'controller/adapters/grpc/ads.ts': `import { d } from '../../runtime/publish.ts'
import fs from 'node:fs'
import { e } from './codec.ts'
import { m } from '../../../host/file.ts'`,
  'controller/adapters/grpc/codec.ts': 'export const e = Date.now()',
  'controller/adapters/http/server.ts': '',
  'controller/main.ts': `import { f } from './adapters/grpc/ads.ts'\nprocess.exit()`,
  'sidecar/core/input/input.ts': '',
  'sidecar/check.ts': `import { g } from './core/input/input.ts'`,
  'sidecar/main.ts': `import { h } from './check.ts'`,
  'cli/main.ts': `import { i } from '../controller/core/model/mesh.ts'
const j = await import('../sidecar/main.ts')`,
  'demo/run.ts': `import { k } from '../sidecar/core/input/input.ts'`,
  'test/unit/x.test.ts': `import { l } from '../../controller/core/model/mesh.ts'`,
}

const ROOMS = [
  'common',
  'host',
  'controller',
  'controller/core/model',
  'controller/core/xds',
  'controller/runtime',
  'controller/adapters/grpc',
  'controller/adapters/http',
  'sidecar',
  'sidecar/core/input',
  'cli',
  'demo',
]

function house(changes: Record<string, string | undefined> = {}): House {
  const files = new Map<string, string>()
  for (const [path, source] of Object.entries({ ...GOOD, ...changes })) {
    if (source !== undefined) files.set(path, HEADER + source)
  }
  return {
    files,
    generated: new Set(['controller/core/crd/generated/mesh.ts', 'proto/gen/x.js']),
    testGlobs: ['test/unit/**/*.test.ts'],
    rooms: Object.fromEntries(ROOMS.map((room) => [room, 'why?'])),
  }
}

/** `rule path` of each violation of the good house with these files changed or added. */
function judge(changes: Record<string, string | undefined>): string[] {
  return checkHouse(house(changes)).map(({ rule, path }) => `${rule} ${path}`)
}

t.test('a house that keeps the rules has no violation', async (t) => {
  t.same(checkHouse(house()), [])
})

/** What is added to which file, and the rule that must catch it there. */
const CASES: readonly (readonly [string, Rule, string, string])[] = [
  [
    'core imports runtime',
    'direction',
    'controller/core/xds/listener.ts',
    `import '../../runtime/publish.ts'`,
  ],
  [
    'core imports an adapter',
    'direction',
    'controller/core/xds/listener.ts',
    `import '../../adapters/http/server.ts'`,
  ],
  [
    'a type counts too',
    'direction',
    'controller/core/xds/listener.ts',
    `import type { Q } from '../../adapters/http/server.ts'`,
  ],
  [
    'so does a re-export',
    'direction',
    'controller/core/xds/listener.ts',
    `export * from '../../adapters/http/server.ts'`,
  ],
  [
    'and a dynamic import',
    'direction',
    'controller/core/xds/listener.ts',
    `void import('../../adapters/http/server.ts')`,
  ],
  [
    'runtime imports an adapter',
    'direction',
    'controller/runtime/publish.ts',
    `import '../adapters/http/server.ts'`,
  ],
  [
    'an adapter imports main',
    'direction',
    'controller/adapters/http/server.ts',
    `import '../../main.ts'`,
  ],
  [
    'an adapter imports another',
    'direction',
    'controller/adapters/http/server.ts',
    `import '../grpc/codec.ts'`,
  ],
  [
    'the request path imports main',
    'direction',
    'sidecar/core/input/input.ts',
    `import '../../main.ts'`,
  ],
  [
    'controller imports sidecar',
    'direction',
    'controller/core/xds/listener.ts',
    `import '../../../sidecar/core/input/input.ts'`,
  ],
  [
    'sidecar imports controller',
    'direction',
    'sidecar/main.ts',
    `import '../controller/core/model/mesh.ts'`,
  ],
  [
    'common imports a program',
    'direction',
    'common/errors.ts',
    `import '../controller/core/model/mesh.ts'`,
  ],
  [
    'cli imports an adapter',
    'direction',
    'cli/main.ts',
    `import '../controller/adapters/http/server.ts'`,
  ],
  [
    'cli imports sidecar core',
    'direction',
    'cli/main.ts',
    `import '../sidecar/core/input/input.ts'`,
  ],
  ['a program imports cli', 'direction', 'controller/main.ts', `import '../cli/main.ts'`],
  ['the product imports the demo', 'direction', 'sidecar/main.ts', `import '../demo/run.ts'`],
  [
    'runtime uses the machine',
    'direction',
    'controller/runtime/publish.ts',
    `import '../../host/file.ts'`,
  ],
  [
    'core uses the machine',
    'direction',
    'sidecar/core/input/input.ts',
    `import '../../../host/file.ts'`,
  ],
  ['host imports a program', 'direction', 'host/file.ts', `import '../sidecar/check.ts'`],
  ['the product imports a test', 'direction', 'cli/main.ts', `import '../test/unit/x.test.ts'`],
  ['an import leads nowhere', 'target', 'sidecar/main.ts', `import './gone.ts'`],
  ['core reads a file', 'purity', 'controller/core/xds/listener.ts', `import 'node:fs/promises'`],
  [
    'core speaks gRPC, even in types',
    'purity',
    'controller/core/xds/listener.ts',
    `import type { S } from '@grpc/grpc-js'`,
  ],
  ['core asks the clock', 'purity', 'controller/core/xds/listener.ts', 'const now = Date.now()'],
  ['core asks it otherwise', 'purity', 'controller/core/xds/listener.ts', 'const now = new Date()'],
  ['core rolls dice', 'purity', 'controller/core/xds/listener.ts', 'const n = Math.random()'],
  [
    'core draws bytes',
    'purity',
    'controller/core/xds/listener.ts',
    `import { randomBytes } from 'node:crypto'`,
  ],
  [
    'core makes keys',
    'purity',
    'controller/core/xds/listener.ts',
    `import { generateKeyPairSync } from 'node:crypto'`,
  ],
  [
    'core reads the environment',
    'purity',
    'controller/core/xds/listener.ts',
    'const home = process.env.HOME',
  ],
  ['core sets a timer', 'purity', 'controller/core/xds/listener.ts', 'setTimeout(() => {}, 1)'],
  ['core calls out', 'purity', 'controller/core/xds/listener.ts', `await fetch('https://x')`],
  ['core prints', 'purity', 'controller/core/xds/listener.ts', `console.log('x')`],
  [
    'the clock without parentheses',
    'purity',
    'controller/core/xds/listener.ts',
    'const now = new Date',
  ],
  ['the clock as a function', 'purity', 'controller/core/xds/listener.ts', 'const now = Date()'],
  [
    'the clock by another name',
    'purity',
    'controller/core/xds/listener.ts',
    'const D = Date\nexport const now = () => D.now()',
  ],
  [
    'the clock in brackets',
    'purity',
    'controller/core/xds/listener.ts',
    `const now = Date['now']()`,
  ],
  ['dice by destructuring', 'purity', 'controller/core/xds/listener.ts', 'const { random } = Math'],
  [
    'the environment by destructuring',
    'purity',
    'controller/core/xds/listener.ts',
    'const { env } = process',
  ],
  [
    'all of node:crypto',
    'purity',
    'controller/core/xds/listener.ts',
    `import * as c from 'node:crypto'`,
  ],
  [
    'node:crypto as a default',
    'purity',
    'controller/core/xds/listener.ts',
    `import c from 'node:crypto'`,
  ],
  ['code from text', 'purity', 'controller/core/xds/listener.ts', `const now = eval('Date.now()')`],
  ['common opens a socket', 'purity', 'common/errors.ts', `import 'node:net'`],
  ['a file is too long', 'size', 'controller/runtime/publish.ts', '\n'.repeat(401)],
  ['an entrance is too long', 'size', 'sidecar/check.ts', '\n'.repeat(80)],
  ['a test is too long', 'size', 'test/unit/x.test.ts', '\n'.repeat(601)],
]

for (const [name, rule, path, added] of CASES) {
  t.test(`${rule}: ${name}`, async (t) => {
    const found = judge({ [path]: `${GOOD[path]}\n${added}` })
    // An import to the left closes a circle too; that is the cycle rule's affair.
    t.same(
      found.filter((v) => !v.startsWith('cycle ')),
      [`${rule} ${path}`],
    )
  })
}

t.test('size: 400 lines are allowed', async (t) => {
  const path = 'controller/runtime/publish.ts'
  t.same(judge({ [path]: `${GOOD[path]}\n${'\n'.repeat(398)}` }), [])
})

t.test('cycle: two files import each other', async (t) => {
  const [violation, ...more] = checkHouse(
    house({ 'controller/adapters/grpc/codec.ts': `import type { Ads } from './ads.ts'` }),
  )
  t.match(violation, { rule: 'cycle', message: /ads.ts → .*codec.ts → .*ads.ts/ })
  t.same(more, [])
})

t.test('test: a test file that no glob runs', async (t) => {
  t.same(judge({ 'test/lost/y.test.ts': '' }), ['test test/lost/y.test.ts'])
})

t.test('room: a folder that nothing names, and a name without a folder', async (t) => {
  t.same(judge({ 'controller/core/util/x.ts': '' }), ['room controller/core/util'])
  t.same(judge({ 'demo/run.ts': undefined }), ['room demo'])
})

t.test('place: a file outside every room', async (t) => {
  t.same(judge({ 'stray.ts': '' }), ['place stray.ts'])
  t.same(judge({ 'controller/lib/x.ts': '' }), ['place controller/lib/x.ts', 'room controller/lib'])
})

t.test('header: a file without one', async (t) => {
  const bare = house()
  const files = new Map([...bare.files, ['sidecar/main.ts', 'export const x = 1\n']])
  t.match(checkHouse({ ...bare, files }), [{ rule: 'header', path: 'sidecar/main.ts' }])
})

t.test('what only stands in a comment or a string breaks nothing', async (t) => {
  const source = `// import '../../adapters/http/server.ts'; Date.now()\nconst s = 'process.env'`
  t.same(judge({ 'controller/core/xds/listener.ts': source }), [])
})

t.test('core may take randomness and time as parameters', async (t) => {
  const source =
    'export const f = (randomBytes: (n: number) => Uint8Array, now: number) => new Date(now)'
  t.same(judge({ 'controller/core/xds/listener.ts': source }), [])
})

t.test('place: code that is no .ts file, and an import of it', async (t) => {
  const strays = new Set(['controller/core/xds/clock.js'])
  const found = checkHouse({ ...house({}), strays })
  t.same(
    found.map(({ rule, path }) => `${rule} ${path}`),
    ['place controller/core/xds/clock.js'],
  )
  const listener = 'controller/core/xds/listener.ts'
  t.same(judge({ [listener]: `${GOOD[listener]}\nimport './clock.js'` }), [`target ${listener}`])
})
