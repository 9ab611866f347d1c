/**
 * nft, which the tests of captured traffic load their rules with: the machine's own, else from the packages of its
 * distribution (Debian and kin), unpacked into the cache; nothing is installed. Verified by apt with the machine's keys.
 * In: a work folder. Out: a folder with `nft`, a script that finds the libraries beside it.
 */
import { chmod, mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { run } from './run.ts'

/** nft and the libraries that only it wants; libc and the like are on every machine. */
const PACKAGES = [
  'nftables',
  'libnftables1',
  'libnftnl11',
  'libmnl0',
  'libxtables12',
  'libjansson4',
  'libedit2',
  'libbsd0',
  'libmd0',
  'libgmp10',
  'libtinfo6',
]

/** Takes the product from where it is unpacked to where it is called; `$0` may be a link to it. */
const WRAPPER = `#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
libraries=$(printf '%s:' "$here"/root/usr/lib/*-linux-gnu* "$here"/root/lib/*-linux-gnu*)
LD_LIBRARY_PATH="$libraries" exec "$here/root/usr/sbin/nft" "$@"
`

/** Unpacks the packages below `workFolder`. Throws RunError without apt or the network. */
export async function unpackNft(workFolder: string): Promise<string> {
  const product = join(workFolder, 'nft')
  const packages = join(workFolder, 'packages')
  const apt = join(workFolder, 'apt')
  await rm(product, { recursive: true, force: true })
  for (const dir of [
    product,
    packages,
    join(apt, 'lists/partial'),
    join(apt, 'cache/archives/partial'),
  ])
    await mkdir(dir, { recursive: true })
  // Lists of its own: nothing of the machine's apt is touched, and no root is needed.
  const own = [`Dir::State::lists=${apt}/lists`, `Dir::Cache=${apt}/cache`]
  const options = [...own, 'APT::Sandbox::User='].flatMap((option) => ['-o', option])
  await run('apt-get', ['-q', ...options, 'update'])
  await run('apt-get', ['-q', ...options, 'download', ...PACKAGES], { cwd: packages })
  for (const file of await readdir(packages))
    await run('dpkg-deb', ['-x', join(packages, file), join(product, 'root')])
  await writeFile(join(product, 'nft'), WRAPPER)
  await chmod(join(product, 'nft'), 0o755)
  return product
}
