/**
 * What core (and common) may use: packages on a list, and no clock, randomness, timer, process or network.
 * In: a file. Out: each use of something else. Source: STYLE §3; time, serials and ids come as parameters.
 */
import { importsOf, packageOf } from './imports.ts'
import { lex } from './lexer.ts'

/** Pure packages. Each stands here for a reason; a new one wants a look at what it does on import. */
const CORE_PACKAGES = new Set([
  'node:assert',
  'node:buffer',
  'node:crypto', // hashes, and reading of keys and certificates
  'node:path/posix', // joins and splits; resolve, which reads the working folder, is not used
  'node:util', // inspect.custom, isDeepStrictEqual
  '@bufbuild/protobuf',
  '@bufbuild/cel',
  '@marcbachmann/cel-js',
  'ajv',
  'ajv-formats',
  'ipaddr.js',
  'node-forge',
  'yaml',
])

/** Common also packs and unpacks archives in memory. */
const COMMON_PACKAGES = new Set([...CORE_PACKAGES, 'node:stream', 'node:zlib', 'tar-stream'])

/** A bare name: not a property, not a key of an object. */
const bare = (names: string, unless = '') =>
  new RegExp(`(?<![.\\w$])(?:${names})\\b${unless}(?!\\s*:)`, 'g')

/** Whatever is not plainly harmless, so that an alias, a bracket or a destructuring gets round none of it. */
const BANNED: readonly (readonly [RegExp, string])[] = [
  [bare('(?<!new\\s+)Date', '(?!\\s*\\.\\s*(?:parse|UTC)\\s*\\()'), 'Date.now'],
  [/\bnew\s+Date\b(?!\s*\(\s*[^\s)])/g, 'new Date()'],
  [bare('Math', '(?!\\s*\\.\\s*(?!random\\b)\\w)'), 'Math.random'],
  [bare('performance'), 'performance'],
  [bare('crypto'), 'crypto randomness'],
  [bare('process'), 'process'],
  [bare('setTimeout|setInterval|setImmediate|queueMicrotask'), 'timers'],
  [bare('fetch|WebSocket|EventSource'), 'fetch'],
  [bare('console'), 'console'],
  [bare('globalThis|global|require|eval|Function'), 'globalThis, require or eval'],
]

/** Names of node:crypto that draw randomness; core takes a function for that as a parameter. */
const RANDOM = /\b(?:random\w*|generate\w*|getRandomValues|webcrypto|subtle)\b/

export interface Impurity {
  readonly line: number
  readonly message: string
}

/** Packages outside the list and banned globals of one file. Type-only imports are free in common, banned in core. */
export function impurities(path: string, source: string, room: 'core' | 'common'): Impurity[] {
  const text = lex(source)
  const allowed = room === 'core' ? CORE_PACKAGES : COMMON_PACKAGES
  const packages = importsOf(path, source, text)
    .filter(
      (i) =>
        i.path === undefined && !allowed.has(i.specifier) && !allowed.has(packageOf(i.specifier)),
    )
    .filter((i) => room === 'core' || !i.typeOnly)
    .map((i) => ({ line: i.line, message: `${room} must not import ${i.specifier}` }))
  const random = importsOf(path, source, text)
    .filter((i) => i.specifier === 'node:crypto' && !i.typeOnly)
    .filter(({ clause }) => RANDOM.test(clause) || !/^\s*(?:type\s*)?\{/.test(clause))
    .map((i) => ({ line: i.line, message: `${room} must not import randomness from node:crypto` }))
  const globals = BANNED.flatMap(([pattern, name]) =>
    [...text.code.matchAll(pattern)].map((match) => ({
      line: source.slice(0, match.index).split('\n').length,
      message: `${room} must not use ${name}`,
    })),
  )
  return [...packages, ...random, ...globals]
}
