/**
 * docs/reference/errors.md and the code have the same codes, each is used by a program, and the statuses that the page
 * promises to callers are those that the code gives.
 */
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { status as grpcStatus } from '@grpc/grpc-js'
import t from 'tap'
import {
  MESH_ERROR_CODES,
  MeshError,
  type MeshErrorCode,
  PROBLEM_CODES,
} from '../../../common/errors.ts'
import { toStatus } from '../../../controller/adapters/grpc/csr-server.ts'
import { refuse } from '../../../sidecar/core/decision/verdict.ts'
import { readTables, type Section } from '../../kit/doc-tables.ts'

const ROOT = join(import.meta.dirname, '../../..')
const CODES: readonly string[] = [...PROBLEM_CODES, ...MESH_ERROR_CODES]
const sections = readTables('docs/reference/errors.md')
const rows = sections.flatMap((section) => section.rows)

function sectionOf(title: string): Section {
  const found = sections.find((section) => section.title === title)
  if (found === undefined) throw new Error(`no section ${title}`)
  return found
}

/** Codes that a program gives out: as literal text, and not only to be compared with or in a comment. */
function usedCodes(): ReadonlySet<string> {
  const files = globSync('{common,host,controller,sidecar,cli}/**/*.ts', { cwd: ROOT })
  const texts = files
    .filter((file) => file !== join('common', 'errors.ts'))
    .map((file) => readFileSync(join(ROOT, file), 'utf8').replaceAll(/[!=]== '[^']*'/g, ''))
  return new Set(texts.flatMap((text) => text.match(/(?<=')ERR_[A-Z_]+(?=')/g) ?? []))
}

t.test('the page has every code of the code, once, and no other', async (t) => {
  const documented = rows.map(([code = '']) => code.replaceAll('`', ''))
  t.same([...documented].sort(), [...CODES].sort())
})

t.test('every code says what it means and what to do', async (t) => {
  for (const [code = '', meaning = '', seen = '', remedy = ''] of rows) {
    t.ok(meaning !== '' && remedy !== '', code)
    const isProblem = (PROBLEM_CODES as readonly string[]).includes(code.replaceAll('`', ''))
    t.ok(isProblem || seen !== '', `${code}: where it is seen`)
  }
})

t.test('every code is used by a program', async (t) => {
  const used = usedCodes()
  t.same(
    CODES.filter((code) => !used.has(code)),
    [],
    'dead codes: use them, or take them out of common/errors.ts',
  )
  t.same(
    [...used].filter((code) => !CODES.includes(code)),
    [],
    'codes that common/errors.ts lacks',
  )
})

t.test('problems stand under Manifests, and nothing else does', async (t) => {
  const there = sectionOf('Manifests').rows.map(([code = '']) => code.replaceAll('`', ''))
  t.same(there, [...PROBLEM_CODES])
})

t.test('a refused caller gets the HTTP status that the page says', async (t) => {
  for (const [code = '', , status] of sectionOf('Decisions').rows) {
    const verdict = refuse(code.replaceAll('`', '') as MeshErrorCode, '')
    t.match(verdict, { allowed: false, denial: { status: Number(status) } }, code)
  }
})

t.test('a refused sidecar gets the gRPC status that the page says', async (t) => {
  for (const [code = '', , status = ''] of sectionOf('Identity').rows) {
    const { code: number } = toStatus(new MeshError(code.replaceAll('`', '') as MeshErrorCode, ''))
    t.equal(grpcStatus[number], status, code)
  }
})
