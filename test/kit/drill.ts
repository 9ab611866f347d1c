/**
 * A drill's claims as assertions: each is one, but for those that depend on the machine's speed, which are only shown.
 */
import type { DrillReport } from '../../drills/report.ts'

export interface Judge {
  ok(value: boolean, text: string): unknown
  comment(text: string): void
}

export function judge(t: Judge, reports: readonly DrillReport[]): void {
  for (const { name, claims } of reports) {
    for (const { text, holds, seen, isTimed } of claims) {
      const line = `${name}: ${text} (${seen})`
      if (isTimed) t.comment(line)
      else t.ok(holds, line)
    }
  }
}
