/**
 * An archive is an OCI image layout: every digest in it is that of the bytes it names, and equal input is equal bytes.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { zstdDecompressSync } from 'node:zlib'
import t from 'tap'
import { extract } from 'tar-stream'
import { compressLayer, type Image, writeArchive } from '../../../../scripts/images/archive.ts'
import { packLayer } from '../../../../scripts/images/layer.ts'
import { tempDir } from '../../../kit/tempdir.ts'

interface Descriptor {
  readonly digest: string
  readonly size: number
}

async function filesOf(path: string): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>()
  for await (const entry of Readable.from(readFileSync(path)).pipe(extract())) {
    const chunks: Buffer[] = []
    for await (const chunk of entry) chunks.push(chunk as Buffer)
    files.set(entry.header.name, Buffer.concat(chunks))
  }
  return files
}

async function makeImage(kept?: string): Promise<Image> {
  const tar = await packLayer(new Map([['/a', { kind: 'text', text: 'hello' } as const]]))
  return {
    name: 'docker.io/postern/thing',
    tag: '1.0.0',
    entrypoint: ['/a'],
    env: { PATH: '/usr/bin' },
    user: '1337:1337',
    layers: [compressLayer(tar, kept)],
  }
}

t.test('every digest is that of its bytes', async (t) => {
  const path = join(tempDir(t), 'thing.tar')
  const digest = await writeArchive(await makeImage(), path)
  const files = await filesOf(path)
  const json = (bytes: Buffer | undefined) => JSON.parse(String(bytes))
  const blobOf = ({ digest, size }: Descriptor) => {
    const bytes = files.get(`blobs/${digest.replace(':', '/')}`) ?? Buffer.alloc(0)
    t.equal(`sha256:${createHash('sha256').update(bytes).digest('hex')}`, digest)
    t.equal(bytes.length, size)
    return bytes
  }
  const [listed] = json(files.get('index.json')).manifests
  t.equal(listed.digest, digest)
  t.equal(listed.annotations['io.containerd.image.name'], 'docker.io/postern/thing:1.0.0')
  const manifest = json(blobOf(listed))
  const config = json(blobOf(manifest.config))
  t.match(config, { os: 'linux', config: { User: '1337:1337', Entrypoint: ['/a'] } })
  const tar = zstdDecompressSync(blobOf(manifest.layers[0]))
  const diffId = `sha256:${createHash('sha256').update(tar).digest('hex')}`
  t.same(config.rootfs.diff_ids, [diffId])
})

t.test('equal input is equal bytes, also with a kept layer', async (t) => {
  const folder = tempDir(t)
  const [a, b, c] = ['a', 'b', 'c'].map((name) => join(folder, name)) as [string, string, string]
  await writeArchive(await makeImage(), a)
  await writeArchive(await makeImage(join(folder, 'kept')), b)
  await writeArchive(await makeImage(join(folder, 'kept')), c)
  t.ok(readFileSync(a).equals(readFileSync(b)))
  t.ok(readFileSync(a).equals(readFileSync(c)))
})
