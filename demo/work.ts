/**
 * The work folder of a run of the stack: keys, logs and manifests of that run alone. In: a name. Out: a new folder
 * below the temporary one, locked for as long as this process lives. Folders of runs that were killed are removed: the
 * kernel says that their lock is free.
 */
import { existsSync, lstatSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { lockState } from '../host/state-lock.ts'

export interface Work {
  readonly path: string
  /** Removes it; with POSTERN_DEMO_LOGS set, keeps it under another name and returns that. */
  end(): Promise<string | undefined>
}

/** `name`: `demo`, `drill`, … The folder is `postern-<name>-XXXXXX`, mode 0700. */
export async function openWork(name: string, parent = tmpdir()): Promise<Work> {
  await removeDead(name, parent)
  const path = mkdtempSync(join(parent, `postern-${name}-`))
  const unlock = await lockState(path, name)
  return {
    path,
    async end() {
      const isKept = process.env.POSTERN_DEMO_LOGS !== undefined
      const kept = join(parent, basename(path).replace('postern-', 'postern-logs-'))
      if (isKept) renameSync(path, kept)
      else rmSync(path, { recursive: true, force: true })
      await unlock()
      return isKept ? kept : undefined
    },
  }
}

async function removeDead(name: string, parent: string): Promise<void> {
  const pattern = new RegExp(`^postern-${name}-[A-Za-z0-9]{6}$`)
  for (const entry of readdirSync(parent)) {
    const path = join(parent, entry)
    if (!pattern.test(entry) || !isOurs(path)) continue
    // One that is about to be locked is not dead.
    if (!existsSync(join(path, 'lock'))) continue
    const unlock = await lockState(path, name).catch(() => undefined)
    if (unlock === undefined) continue
    rmSync(path, { recursive: true, force: true })
    await unlock()
  }
}

/** A folder, no link, of this user. */
function isOurs(path: string): boolean {
  const found = lstatSync(path, { throwIfNoEntry: false })
  return found?.isDirectory() === true && found.uid === process.geteuid?.()
}
