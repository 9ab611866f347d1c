/**
 * nft, which captured traffic is redirected with: the machine's own, else from the packages of its distribution,
 * unpacked into the cache. In: a work folder. Out: a folder with `nft`, a script that finds the libraries beside it.
 */
import { chmod, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { unpackPackages } from './debian.ts'

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
  await rm(product, { recursive: true, force: true })
  await unpackPackages(workFolder, PACKAGES, join(product, 'root'))
  await writeFile(join(product, 'nft'), WRAPPER)
  await chmod(join(product, 'nft'), 0o755)
  return product
}
