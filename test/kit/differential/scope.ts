/**
 * What the parts of a differential run need of a test: a place for their ends. A drill has no test, so it gets one here.
 */
import type { Test } from 'tap'

export type Scope = Pick<Test, 'teardown' | 'fail'>

/** Runs `body`, then all its teardowns, last first; what was left behind fails the process. */
export async function withScope<T>(body: (scope: Scope) => Promise<T>): Promise<T> {
  const ends: (() => unknown)[] = []
  const failures: string[] = []
  const scope = {
    teardown: (end: () => unknown) => void ends.push(end),
    fail: (message: string) => failures.push(message) > 0,
  } as unknown as Scope
  try {
    return await body(scope)
  } finally {
    for (const end of ends.reverse()) await end()
    if (failures.length > 0) process.exitCode = 1
    for (const failure of failures) process.stderr.write(`${failure}\n`)
  }
}
