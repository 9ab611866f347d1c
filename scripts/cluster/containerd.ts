/**
 * Images for a test cluster: what its own components need is packed here, the rest comes as archives.
 * In: archives. Out: images in the containerd of the node, by `ctr` in its mount namespace.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { plainLayer, writeArchive } from '../images/archive.ts'
import { packLayer } from '../images/layer.ts'
import { file } from '../images/libraries.ts'
import { run } from '../tools/run.ts'
import { PAUSE_IMAGE } from './config.ts'
import { INSIDE } from './layout.ts'

/** Into the containerd of the node whose pid 1 is `pid`; `ctr` is the program's path. */
export async function importImage(pid: number, ctr: string, archive: string): Promise<void> {
  const enter = ['--target', String(pid), '--mount', '--']
  const to = ['--address', `${INSIDE}/containerd.sock`, '--namespace', 'k8s.io']
  await run('nsenter', [...enter, ctr, ...to, 'images', 'import', archive])
}

/** Packs the images of pause and CoreDNS, each of one static program, into `folder`. */
export async function packOwnImages(
  folder: string,
  programs: { readonly pause: string; readonly coredns: string },
): Promise<string[]> {
  mkdirSync(folder, { recursive: true })
  const [name = '', tag = ''] = PAUSE_IMAGE.split(':')
  return [
    await packProgram(join(folder, 'pause.tar'), { name, tag, program: programs.pause }),
    await packProgram(join(folder, 'coredns.tar'), {
      name: 'localhost/coredns',
      tag: '1',
      program: programs.coredns,
    }),
  ]
}

async function packProgram(
  path: string,
  { name, tag, program }: { name: string; tag: string; program: string },
): Promise<string> {
  const tar = await packLayer(new Map([['/program', file(program, true)]]))
  const how = { entrypoint: ['/program'], env: {}, user: '65534:65534' }
  await writeArchive({ ...how, name, tag, layers: [plainLayer(tar)] }, path)
  return path
}
