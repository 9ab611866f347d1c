/**
 * A layer's bytes are those of its entries: not of their order, times, owners or modes on this machine.
 */
import { chmodSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import t from 'tap'
import { extract } from 'tar-stream'
import { type Entry, packLayer } from '../../../../scripts/images/layer.ts'
import { tempDir } from '../../../kit/tempdir.ts'

async function listing(tar: Buffer): Promise<string[]> {
  const lines: string[] = []
  for await (const entry of Readable.from(tar).pipe(extract())) {
    const { name, type, mode, uid, gid, mtime, linkname } = entry.header
    const at = mtime === undefined ? '' : mtime.getTime()
    lines.push([type, name, mode?.toString(8), uid, gid, at, linkname ?? ''].join(' ').trim())
    entry.resume()
  }
  return lines
}

t.test('the same entries are the same bytes', async (t) => {
  const folder = tempDir(t)
  const source = join(folder, 'tool')
  const entries = (): [string, Entry][] => [
    ['/usr/bin/tool', { kind: 'file', source, executable: true }],
    ['/etc/motd', { kind: 'text', text: 'hello' }],
    ['/usr/bin/other', { kind: 'link', target: 'tool' }],
    ['/tmp', { kind: 'folder', mode: 0o1777 }],
  ]
  writeFileSync(source, 'bytes')
  const first = await packLayer(new Map(entries()))
  chmodSync(source, 0o600)
  utimesSync(source, 1, 1)
  const second = await packLayer(new Map(entries().reverse()))
  t.ok(first.equals(second))
  t.same(await listing(first), [
    'directory etc 755 0 0 0',
    'file etc/motd 644 0 0 0',
    'directory tmp 1777 0 0 0',
    'directory usr 755 0 0 0',
    'directory usr/bin 755 0 0 0',
    'symlink usr/bin/other 777 0 0 0 tool',
    'file usr/bin/tool 755 0 0 0',
  ])
})

t.test('another byte is another layer', async (t) => {
  const of = (text: string) => packLayer(new Map([['/a', { kind: 'text', text } as const]]))
  t.notOk((await of('x')).equals(await of('y')))
})
