/**
 * Counts what a test run really executed, from its TAP stream.
 * In: TAP text in chunks. Out: passed, failed and skipped assertions, and each failure with its path and diagnosis.
 * A subtest counts by its assertions; one that fails without a failed assertion (a wrong plan, a crash) counts as one failure.
 */
import { Parser, type Result } from 'tap-parser'
import { stringify } from 'yaml'

export interface Summary {
  readonly passed: number
  readonly failed: number
  /** Skipped and TODO assertions: what did not run. */
  readonly skipped: number
  /** The stream was complete and nothing in it failed. */
  readonly ok: boolean
}

export interface Watcher {
  /** One top-level point (a test file) is done. */
  onFile(name: string, ok: boolean, timeMs: number | null): void
  /** `path` leads from the file to the assertion. `diagnosis` is YAML, may be empty. */
  onFailure(path: readonly string[], diagnosis: string): void
  onSkip(path: readonly string[]): void
}

interface Tally {
  passed: number
  failed: number
  skipped: number
}

/** A counter to write TAP to; `end()` returns the sum. */
export function countTap(watcher: Watcher): { write(chunk: string): void; end(): Summary } {
  const total: Tally = { passed: 0, failed: 0, skipped: 0 }
  const parser = new Parser()
  watch(parser, [], total, watcher)
  return {
    write: (chunk) => void parser.write(chunk),
    end: () => {
      parser.end()
      const ran = total.passed + total.failed + total.skipped > 0
      return { ...total, ok: ran && total.failed === 0 && parser.results?.ok === true }
    },
  }
}

function watch(parser: Parser, path: readonly string[], tally: Tally, watcher: Watcher): void {
  let child: Tally | undefined
  parser.on('child', (inner: Parser) => {
    child = { passed: 0, failed: 0, skipped: 0 }
    watch(inner, [...path, inner.name], child, watcher)
  })
  parser.on('assert', (result: Result) => {
    const counted = child ?? { passed: 0, failed: 0, skipped: 0 }
    child = undefined
    judge(result, counted, [...path, result.name], watcher)
    tally.passed += counted.passed
    tally.failed += counted.failed
    tally.skipped += counted.skipped
    if (path.length === 0) watcher.onFile(result.name, result.ok, result.time)
  })
}

/** Adds to a point's tally (its subtest's, or an empty one) what the point itself says. */
function judge(result: Result, tally: Tally, path: readonly string[], watcher: Watcher): void {
  if (result.skip !== false || result.todo !== false) {
    tally.skipped += 1
    watcher.onSkip(path)
  } else if (!result.ok && tally.failed === 0) {
    tally.failed += 1
    watcher.onFailure(path, result.diag === null ? '' : stringify(result.diag))
  } else if (result.ok && tally.passed + tally.failed + tally.skipped === 0) {
    tally.passed += 1
  }
}
