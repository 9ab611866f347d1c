/**
 * Temporary folders for tests, with paths short enough for Unix sockets (107 bytes), which tap's own testdir is not.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'

/** A new folder (mode 0700) that is removed with everything in it when the test ends. */
export function tempDir(t: Pick<Test, 'teardown'>): string {
  const folder = mkdtempSync(join(tmpdir(), 'pt-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}
