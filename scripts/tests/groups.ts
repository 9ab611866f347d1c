/**
 * Which test files there are and how each kind is run. `make test` runs all groups; the architecture test fails on a
 * test file that is in none.
 */
import { globSync } from 'node:fs'

export interface Group {
  readonly name: string
  readonly globs: readonly string[]
  /** Files at a time; undefined: as many as tap thinks (one, on two cores). Real processes and timings want the machine for themselves. */
  readonly jobs?: number
  /** Seconds that one file may take. */
  readonly timeout: number
  /** Its files share a test cluster, which is taken down after the last of them. */
  readonly hasCluster?: boolean
}

/** Integration tests that mostly wait: for leases, watches, restarts and outages. */
const WAITING = [
  'kubernetes-*',
  'sidecar-outage',
  'sidecar-hung-envoy',
  'bad-manifests',
  'controller',
]

export const GROUPS: readonly Group[] = [
  { name: 'unit', globs: ['test/*.test.ts', 'test/unit/**/*.test.ts'], jobs: 2, timeout: 60 },
  { name: 'golden', globs: ['test/golden/**/*.test.ts'], timeout: 120 },
  { name: 'conformance', globs: ['test/conformance/**/*.test.ts'], jobs: 1, timeout: 300 },
  {
    name: 'integration',
    globs: [`test/integration/!(${WAITING.join('|')}).test.ts`],
    jobs: 1,
    timeout: 300,
  },
  {
    name: 'waiting',
    globs: [`test/integration/@(${WAITING.join('|')}).test.ts`],
    jobs: 2,
    timeout: 300,
  },
  { name: 'e2e', globs: ['test/e2e/**/*.test.ts'], jobs: 1, timeout: 600 },
  {
    name: 'cluster',
    globs: ['test/cluster/**/*.test.ts'],
    jobs: 1,
    timeout: 600,
    hasCluster: true,
  },
]

/** The files of a group, sorted, relative to the root. */
export function filesOf(group: Group, root: string): string[] {
  return globSync([...group.globs], { cwd: root }).sort()
}
