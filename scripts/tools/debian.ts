/**
 * Packages of the machine's distribution (Debian and kin), unpacked into the cache; nothing is installed. Verified by
 * apt with the machine's keys. In: package names and a work folder. Out: the folder that holds their files.
 */
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { run } from './run.ts'

/** Unpacks the packages into `root`. Throws RunError without apt or the network. */
export async function unpackPackages(
  workFolder: string,
  packages: readonly string[],
  root: string,
): Promise<void> {
  const archives = join(workFolder, 'packages')
  const apt = join(workFolder, 'apt')
  await rm(root, { recursive: true, force: true })
  for (const dir of [
    root,
    archives,
    join(apt, 'lists/partial'),
    join(apt, 'cache/archives/partial'),
  ])
    await mkdir(dir, { recursive: true })
  // Lists of its own: nothing of the machine's apt is touched, and no root is needed.
  const own = [`Dir::State::lists=${apt}/lists`, `Dir::Cache=${apt}/cache`]
  const options = [...own, 'APT::Sandbox::User='].flatMap((option) => ['-o', option])
  await run('apt-get', ['-q', ...options, 'update'])
  await run('apt-get', ['-q', ...options, 'download', ...packages], { cwd: archives })
  for (const file of await readdir(archives))
    await run('dpkg-deb', ['-x', join(archives, file), root])
}
