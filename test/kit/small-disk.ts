/**
 * A disk that can be made full or read-only under a running process. Root: a small tmpfs, really full. Others: the
 * process's file size limit, so that every write fails. Read-only: a mount over the folder, or its permissions.
 * In: the test. Out: a folder, and how its disk is.
 */
import { execFileSync } from 'node:child_process'
import { chmodSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { tempDir } from './tempdir.ts'

export interface SmallDisk {
  readonly dir: string
  /** What makes it small. */
  readonly kind: 'tmpfs' | 'limit'
  /** No write by this process succeeds from now on. */
  fill(pid: number): void
  free(pid: number): void
}

export function makeSmallDisk(t: Pick<Test, 'teardown'>): SmallDisk {
  const dir = tempDir(t)
  const limit = (pid: number, soft: string) =>
    execFileSync('prlimit', ['--pid', `${pid}`, `--fsize=${soft}:`])
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=32m,mode=0700', 'tmpfs', dir], {
      stdio: 'ignore',
    })
  } catch {
    return {
      ...{ dir, kind: 'limit' },
      fill: (pid) => limit(pid, '0'),
      free: (pid) => limit(pid, 'unlimited'),
    }
  }
  t.teardown(() => execFileSync('umount', ['--lazy', dir]))
  const ballast = join(dir, 'ballast')
  return {
    ...{ dir, kind: 'tmpfs' },
    fill: () => {
      for (let size = 1024 * 1024; size >= 1; size = Math.floor(size / 2)) {
        try {
          for (;;) writeFileSync(ballast, Buffer.alloc(size), { flag: 'a' })
        } catch {}
      }
    },
    free: () => rmSync(ballast),
  }
}

/** Nothing can be written, made or renamed in the folder until the function that comes back is called. */
export function makeReadOnly(t: Pick<Test, 'teardown'>, dir: string): () => void {
  const isRoot = process.geteuid?.() === 0
  if (isRoot) {
    execFileSync('mount', ['--bind', dir, dir])
    execFileSync('mount', ['-o', 'remount,bind,ro', dir])
  } else chmodSync(dir, 0o500)
  let isOn = true
  const end = () => {
    if (!isOn) return
    isOn = false
    if (isRoot) execFileSync('umount', ['--lazy', dir])
    else chmodSync(dir, 0o700)
  }
  t.teardown(end)
  return end
}
