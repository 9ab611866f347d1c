/** The limits in docs/reference/traffic.md are those of controller/core/xds/limits.ts, each with its origin. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { limitsTable, withLimits } from '../../../scripts/gen-traffic-docs.ts'

const PAGE = readFileSync(join(import.meta.dirname, '../../../docs/reference/traffic.md'), 'utf8')

t.test('what is committed is what the limits say', async (t) => {
  t.equal(PAGE, withLimits(PAGE))
  t.throws(() => withLimits('# A page without markers'), /markers/)
})

t.test('values have their units, a comment is for all constants below it', async (t) => {
  const source = [
    '/** How long: two',
    ' *  lines (DESIGN §6). See MAX_BODY_BYTES. */',
    'export const CONNECT_TIMEOUT_MS = 2000',
    'export const IDLE_MS = 600_000',
    '',
    '/** How much. */',
    'export const MAX_BODY_BYTES = 8192',
    '/** a | b */',
    'export const LIFE_SHARE = 0.5',
    '/** How many. */',
    'export const RETRIES = 2',
    '',
  ].join('\n')
  const values = {
    CONNECT_TIMEOUT_MS: 2000,
    IDLE_MS: 600_000,
    MAX_BODY_BYTES: 8192,
    LIFE_SHARE: 0.5,
    RETRIES: 2,
  }
  const [, , ...rows] = limitsTable(source, values).split('\n')
  t.same(rows, [
    '| connect timeout | 2 s | How long: two lines. See max body. |',
    '| idle | 10 min | the same |',
    '| max body | 8 KiB | How much. |',
    '| life | 50 % of `svid.lifetimeSeconds` | a \\| b |',
    '| retries | 2 | How many. |',
  ])
})

t.test('a number without an origin is refused', async (t) => {
  t.throws(() => limitsTable('export const A_MS = 1\n', { A_MS: 1 }), /without a comment.*A_MS/)
})
