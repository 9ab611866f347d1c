/**
 * Builds the three images into .tools/images/: the same checkout on the same machine gives the same bytes.
 * In: the checkout with node_modules, Envoy, OPA; nft is brought. Out: an archive and a digest for each.
 */
import { mkdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { bringNft } from '../tools/bring.ts'
import { cacheRoot } from '../tools/cache.ts'
import { compressLayer, type Image, type Layer, writeArchive } from './archive.ts'
import { appLayer, envoyLayer, nftLayer, opaLayer, runtimeLayer, versionOf } from './contents.ts'
import { type Entries, packLayer } from './layer.ts'

const ENV = {
  PATH: '/usr/bin',
  NODE_ENV: 'production',
  POSTERN_ENVOY: '/usr/bin/envoy',
  POSTERN_OPA: '/usr/bin/opa',
}
const USER = '1337:1337'

export interface Built {
  readonly name: string
  /** `docker.io/postern/controller:0.1.0`; in a pod the host may be left out. */
  readonly reference: string
  readonly path: string
  readonly bytes: number
  /** Of the image's manifest. */
  readonly digest: string
}

/** The folder of the archives. */
export function imagesFolder(root: string): string {
  return join(root, '.tools/images')
}

/** Builds and writes all three. */
export async function buildImages(root: string, folder = imagesFolder(root)): Promise<Built[]> {
  const images = await imagesOf(root)
  await mkdir(folder, { recursive: true })
  const built: Built[] = []
  for (const image of images) {
    const path = join(folder, `${shortName(image.name)}.tar`)
    const digest = await writeArchive(image, path)
    built.push(await builtAs(image.name, image.tag, { path, digest }))
  }
  return built
}

async function builtAs(
  image: string,
  tag: string,
  { path, digest }: { readonly path: string; readonly digest: string },
): Promise<Built> {
  const bytes = (await stat(path)).size
  return { name: shortName(image), reference: `${image}:${tag}`, path, bytes, digest }
}

function shortName(image: string): string {
  return image.slice(image.lastIndexOf('/') + 1)
}

async function imagesOf(root: string): Promise<Image[]> {
  const tag = versionOf(root)
  const runtime = await keptLayer(runtimeLayer(root))
  const app = await layer(appLayer(root))
  const starter = readStarter(await readFile(join(root, 'bin/postern'), 'utf8'))
  const { env, flags, controllerFlags } = starter
  const start = (more: readonly string[]) => [
    '/usr/bin/node',
    ...flags,
    ...more,
    '/postern/cli/main.js',
  ]
  const program = { tag, env: { ...ENV, ...env }, user: USER }
  return [
    {
      ...program,
      name: 'docker.io/postern/controller',
      entrypoint: start(controllerFlags),
      layers: [runtime, app, await keptLayer(opaLayer(root))],
    },
    {
      ...program,
      name: 'docker.io/postern/sidecar',
      entrypoint: start([]),
      layers: [runtime, app, await keptLayer(envoyLayer(root))],
    },
    {
      tag,
      name: 'docker.io/postern/init',
      // Only root gets NET_ADMIN into its effective set without a file capability, which restricted pods would refuse.
      user: '0:0',
      env: { PATH: '/usr/sbin' },
      entrypoint: ['/usr/sbin/nft'],
      layers: [await layer(nftLayer(await bringNft()))],
    },
  ]
}

export interface Starter {
  readonly env: Readonly<Record<string, string>>
  readonly flags: readonly string[]
  /** In addition, for the controller. */
  readonly controllerFlags: readonly string[]
}

/** What bin/postern, a shell script, sets and passes: an image has no shell that could. Throws when it has changed its form. */
export function readStarter(script: string): Starter {
  const env = [...script.matchAll(/^export (\w+)="\$\{\1:-([^}]*)\}"$/gm)].map(
    ([, name = '', value = '']) => [name, value] as const,
  )
  const flags = script.match(/^exec "\$node" ((?:--\S+ )+)\$heap "\$main" "\$@"$/m)?.[1]
  const controller = script.match(/^\[ "\$1" = controller \] && heap='([^']+)'$/m)?.[1]
  const exported = script.match(/^export /gm)?.length ?? 0
  if (flags === undefined || controller === undefined || env.length !== exported)
    throw new Error('bin/postern does not start Node in the form that images read')
  return {
    env: Object.fromEntries(env),
    flags: flags.trim().split(' '),
    controllerFlags: controller.split(' '),
  }
}

async function layer(entries: Promise<Entries>): Promise<Layer> {
  return compressLayer(await packLayer(await entries))
}

/** Of programs that are the same from commit to commit. */
async function keptLayer(entries: Promise<Entries>): Promise<Layer> {
  return compressLayer(await packLayer(await entries), join(cacheRoot(process.env), 'image-layers'))
}
