/**
 * The figures of bench/rules.ts as the marked part of docs/performance.md.
 * In: results. Out: Markdown, and whether the claim holds; the rest of the page is left alone.
 */
import type { By } from './rule-sets.ts'

const CLAIM_US = 3

/** The last of n rules matches (`hit`) or none does; the same beside a policy in Rego; the flat list. */
export type Shape = 'allow-hit' | 'allow-miss' | 'deny-hit' | 'deny-miss' | 'with-rego' | 'flat'

export interface Cell {
  readonly shape: Shape
  readonly by: By
  /** CPU of Envoy per request over the listener without filters, in µs. */
  readonly overUs: number
}

export interface SizeResult {
  readonly size: number
  /** What a request costs that the listener without filters answers with 200, and with 403. */
  readonly allowedUs: number
  readonly deniedUs: number
  readonly cells: readonly Cell[]
}

const TREE: readonly Shape[] = ['allow-hit', 'allow-miss', 'deny-hit', 'deny-miss']

export function formatRules(
  machine: string,
  results: readonly SizeResult[],
): { readonly text: string; readonly holds: boolean } {
  const tree = results.flatMap((r) => r.cells.filter((c) => TREE.includes(c.shape)))
  const most = Math.max(...tree.map((c) => c.overUs))
  const holds = most <= CLAIM_US
  const first = results[0]
  const text = `## What rules cost in Envoy

Written by \`make bench-rules\`. ${machine}

CPU time of Envoy per request, in µs, over the same listener that answers without any filter (${first?.allowedUs.toFixed(1)} µs with
200, ${first?.deniedUs.toFixed(1)} µs with 403). Measured is all that stands in the path to decide, as the controller makes it and delivered
by ECDS. HTTP/2 over mutual TLS; the rules are policies of 160 each, and the last of them is the one that
matches. *By both*: each rule names a principal, a method and a path.

| rules | by | ALLOW, last matches | ALLOW, none | DENY, last matches | DENY, none | ALLOW, last matches, beside Rego | flat RBAC list |
| --- | --- | --- | --- | --- | --- | --- | --- |
${results.flatMap(toRows).join('\n')}

- ${holds ? '✓' : '✗'} The rules of a workload cost at most ${CLAIM_US} µs at every size: seen ${most.toFixed(1)} µs at most. Guards are part of it.
- *Beside Rego*: the workload has a policy in Rego too, about other requests. Then the call to the sidecar stands behind the rules,
  and is skipped where they decide. It is not there where no policy needs it ([decision 0010](decisions/0010-one-slot.md)).
- *Flat RBAC list*: the same ALLOW rules as a list, as other meshes write them; the last one matches. Measured up to 1,000.`
  return { text, holds }
}

function toRows({ size, cells }: SizeResult): string[] {
  return (['principal', 'path', 'both'] as const).map((by) => {
    const shown = [...TREE, 'with-rego', 'flat'].map((shape) => {
      const cell = cells.find((c) => c.by === by && c.shape === shape)
      return cell === undefined ? '–' : cell.overUs.toFixed(cell.overUs < 20 ? 1 : 0)
    })
    return `| ${size.toLocaleString('en')} | ${by} | ${shown.join(' | ')} |`
  })
}
