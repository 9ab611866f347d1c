/**
 * kubectl-like tables: upper-case headings, columns padded to the widest cell, three spaces between.
 */
import { JSONPath } from 'jsonpath-plus'
import type { PrinterColumn } from '../../controller/core/crd/index.ts'
import { toPrintableLine } from './printable.ts'

const GAP = 3

/** Rows of equal length, the heading first. No trailing spaces, one line feed at each row's end, and nowhere else. */
export function formatTable(given: readonly (readonly string[])[]): string {
  const rows = given.map((row) => row.map(toPrintableLine))
  const widths: number[] = []
  for (const row of rows) {
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length)
  }
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, i) => cell.padEnd((widths[i] ?? 0) + GAP))
          .join('')
          .trimEnd()}\n`,
    )
    .join('')
}

/** `5s`, `3m`, `2h`, `4d`: the largest unit that is not zero, as kubectl prints ages. */
export function formatAge(thenMs: number, nowMs: number): string {
  const seconds = Math.max(0, Math.floor((nowMs - thenMs) / 1000))
  if (seconds < 120) return `${seconds}s`
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)}h`
  return `${Math.floor(seconds / 86_400)}d`
}

/** What a printer column of a CRD shows of an object; empty when the path leads nowhere. */
export function formatCell(column: PrinterColumn, object: object, nowMs: number): string {
  // CRD printer columns are a subset of JSONPath in which only the leading `$` is left out.
  const found: unknown = JSONPath({
    path: `$${column.jsonPath}`,
    json: object,
    wrap: true,
    eval: 'safe',
  })
  const value = Array.isArray(found) ? (found as unknown[])[0] : undefined
  if (value === undefined || value === null) return ''
  if (column.type === 'date') return formatAge(Date.parse(String(value)), nowMs)
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}
