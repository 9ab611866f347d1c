/**
 * What is in each image, layer by layer: the controller and the sidecar share the lower two.
 * In: the checkout, with node_modules and .tools. Out: entries; nothing that is not run: no shell, no package manager, no
 * tests, docs, types or dev dependencies.
 */
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { build } from '../build.ts'
import { run } from '../tools/run.ts'
import type { Entries, Entry } from './layer.ts'
import { file, libraryFolders, programWithLibraries } from './libraries.ts'

const APP = '/postern'
/** What the two programs and the command line read. */
const CODE = /^(?:package\.json|LICENSE|(?:cli|common|controller|host|sidecar|proto)\/.*\.js)$/
/** Of a package: what only its own authors and compilers read, and native add-ons of another runtime (Bare). */
const NOT_RUN =
  /(?:^|\/)(?:\.[^/]+|tsconfig[^/]*\.json|[^/]+\.(?:[cm]?ts|map|md|markdown|flow|bare|tgz|h|hh|cc|c|cpp|gyp|lock|sh))$|^(?:tests?|__tests__|docs?|examples?|benchmarks?|bench|prebuilds|src\/test)\//i
const LICENCES = /(?:^|\/)(?:licen[cs]e|notice|copying)[^/]*$/i
/** The runtime goes into a layer of its own; types run nowhere. */
const NOT_SHIPPED = /^node_modules\/(?:node-linux-|@types\/)/

/** The folders that a read-only root still has to have, and who the programs are. */
export const BASE: Entries = new Map<string, Entry>([
  ['/tmp', { kind: 'folder', mode: 0o1777 }],
  ['/etc/passwd', text('root:x:0:0::/:\npostern:x:1337:1337::/:\n')],
  ['/etc/group', text('root:x:0:\npostern:x:1337:\n')],
  ['/etc/nsswitch.conf', text('hosts: files dns\n')],
])

/** Node, libc, and flock, by which a state directory has one program. */
export async function runtimeLayer(root: string): Promise<Entries> {
  const node = join(root, 'node_modules/.bin/node')
  return new Map([
    ...BASE,
    ...(await programWithLibraries('/usr/bin/node', node)),
    ...(await programWithLibraries('/usr/bin/flock', await pathOf('flock'))),
  ])
}

/** The code, built anew, and its production dependencies. */
export async function appLayer(root: string): Promise<Entries> {
  const entries = new Map<string, Entry>()
  const built = await build()
  for (const path of filesBelow(built).filter((one) => CODE.test(one)))
    entries.set(join(APP, path), file(join(built, path), false))
  const listed = await run('npm', ['ls', '--omit=dev', '--all', '--parseable'], { cwd: root })
  for (const folder of listed.toString().trim().split('\n').slice(1)) {
    const at = relative(root, folder)
    if (NOT_SHIPPED.test(`${at}/`)) continue
    for (const path of filesBelow(folder))
      if (isRun(path)) entries.set(join(APP, at, path), file(join(folder, path), false))
  }
  return entries
}

/** OPA, which compiles Rego. */
export async function opaLayer(root: string): Promise<Entries> {
  return programWithLibraries('/usr/bin/opa', join(root, '.tools/opa'))
}

/** Envoy, and setpriv, which ties its life to the sidecar's. */
export async function envoyLayer(root: string): Promise<Entries> {
  return new Map([
    ...(await programWithLibraries('/usr/bin/envoy', join(root, '.tools/envoy'))),
    ...(await programWithLibraries('/usr/bin/setpriv', await pathOf('setpriv'))),
  ])
}

/** nft and nothing else: the rules come as its arguments. `nft` is the machine's, or the script beside what we unpacked. */
export async function nftLayer(nft: string): Promise<Entries> {
  const unpacked = join(dirname(realpathSync(nft)), 'root')
  const isOurs = existsSync(unpacked)
  const binary = isOurs ? join(unpacked, 'usr/sbin/nft') : nft
  const folders = isOurs ? libraryFolders(unpacked) : []
  return new Map([...BASE, ...(await programWithLibraries('/usr/sbin/nft', binary, folders))])
}

function isRun(path: string): boolean {
  return LICENCES.test(path) || !NOT_RUN.test(path)
}

/** Relative paths of all files of a package, without the packages that lie in its own node_modules. */
function filesBelow(folder: string, prefix = ''): string[] {
  return readdirSync(join(folder, prefix), { withFileTypes: true }).flatMap((entry) => {
    const path = join(prefix, entry.name)
    if (entry.isDirectory()) return entry.name === 'node_modules' ? [] : filesBelow(folder, path)
    return [path]
  })
}

async function pathOf(program: string): Promise<string> {
  return (await run('sh', ['-c', 'command -v "$0"', program])).toString().trim()
}

function text(content: string): Entry {
  return { kind: 'text', text: content }
}

export function versionOf(root: string): string {
  return (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string })
    .version
}
