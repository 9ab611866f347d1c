/**
 * An OCI image layout in one tar (image-spec v1.1, image-layout.md), as `ctr images import` and `crane push` take it.
 * In: layers and how the image is run. Out: the archive; equal input gives equal bytes.
 */
import { createHash } from 'node:crypto'
import {
  createWriteStream,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs'
import { rename } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { constants, zstdCompressSync } from 'node:zlib'
import { pack } from 'tar-stream'

export interface Image {
  /** `postern/controller`. */
  readonly name: string
  readonly tag: string
  readonly entrypoint: readonly string[]
  readonly env: Readonly<Record<string, string>>
  /** `uid:gid`. */
  readonly user: string
  readonly layers: readonly Layer[]
}

export interface Layer {
  readonly blob: Blob
  readonly mediaType: string
  /** SHA-256 of the tar, before compression. */
  readonly diffId: string
}

interface Blob {
  readonly bytes: Buffer
  readonly digest: string
}

const TYPE = 'application/vnd.oci.image'
const EPOCH = new Date(0)
/** Of Node's `process.arch`, as OCI names it. */
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' }
/** 19 takes six times as long for 6 % less. */
const ZSTD_LEVEL = 9

/** A layer as it is shipped: zstd, which containerd and registries take since 2021. In `kept`, none is made twice. */
export function compressLayer(tar: Buffer, kept?: string): Layer {
  const diffId = digestOf(tar)
  const how = `zstd-${process.versions.zstd}-${ZSTD_LEVEL}`
  const path = kept === undefined ? undefined : join(kept, `${diffId.replace(':', '-')}.${how}`)
  const bytes = path !== undefined && existsSync(path) ? readFileSync(path) : compress(tar)
  if (path !== undefined && !existsSync(path)) {
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(`${path}.${process.pid}`, bytes)
    renameSync(`${path}.${process.pid}`, path)
  }
  return { blob: blob(bytes), mediaType: `${TYPE}.layer.v1.tar+zstd`, diffId }
}

function compress(tar: Buffer): Buffer {
  return zstdCompressSync(tar, { params: { [constants.ZSTD_c_compressionLevel]: ZSTD_LEVEL } })
}

/** A layer that is only carried to the machine itself. */
export function plainLayer(tar: Buffer): Layer {
  const bytes = blob(tar)
  return { blob: bytes, mediaType: `${TYPE}.layer.v1.tar`, diffId: bytes.digest }
}

/** Writes the archive and returns the digest of the image's manifest. */
export async function writeArchive(image: Image, path: string): Promise<string> {
  const config = json(configOf(image))
  const layers = image.layers.map(({ blob, mediaType }) => describe(mediaType, blob))
  const manifest = json({
    schemaVersion: 2,
    mediaType: `${TYPE}.manifest.v1+json`,
    config: describe(`${TYPE}.config.v1+json`, config),
    layers,
  })
  const index = json({
    schemaVersion: 2,
    mediaType: `${TYPE}.index.v1+json`,
    manifests: [
      {
        ...describe(`${TYPE}.manifest.v1+json`, manifest),
        platform: platform(),
        annotations: {
          // containerd's import names the image by it; without a host it would be docker.io's.
          'io.containerd.image.name': `${image.name}:${image.tag}`,
          'org.opencontainers.image.ref.name': image.tag,
        },
      },
    ],
  })
  const blobs = [config, manifest, ...image.layers.map(({ blob }) => blob)]
  const files = new Map([
    ['oci-layout', Buffer.from('{"imageLayoutVersion":"1.0.0"}')],
    ['index.json', index.bytes],
    ...blobs.map(({ digest, bytes }) => [`blobs/${digest.replace(':', '/')}`, bytes] as const),
  ])
  await writeTar(files, path)
  return manifest.digest
}

function configOf({ name, tag, entrypoint, env, user, layers }: Image): unknown {
  return {
    created: EPOCH.toISOString(),
    ...platform(),
    config: {
      User: user,
      Env: Object.entries(env).map(([name, value]) => `${name}=${value}`),
      Entrypoint: entrypoint,
      WorkingDir: '/',
      Labels: {
        'org.opencontainers.image.licenses': 'Apache-2.0',
        'org.opencontainers.image.title': name,
        'org.opencontainers.image.version': tag,
      },
    },
    rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
  }
}

function platform(): { readonly architecture: string; readonly os: string } {
  return { architecture: ARCHITECTURES[process.arch] ?? process.arch, os: 'linux' }
}

async function writeTar(files: ReadonlyMap<string, Buffer>, path: string): Promise<void> {
  const tar = pack()
  const written = pipeline(tar, createWriteStream(`${path}.new`))
  for (const [name, bytes] of files)
    tar.entry({ name, mtime: EPOCH, mode: 0o644, uid: 0, gid: 0 }, bytes)
  tar.finalize()
  await written
  await rename(`${path}.new`, path)
}

function describe(mediaType: string, { bytes, digest }: Blob): object {
  return { mediaType, digest, size: bytes.length }
}

function json(value: unknown): Blob {
  return blob(Buffer.from(JSON.stringify(value)))
}

function blob(bytes: Buffer): Blob {
  return { bytes, digest: digestOf(bytes) }
}

function digestOf(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}
