/**
 * One layer of an image: a tar whose bytes depend on nothing but its entries. Pure but for reading the files named.
 * In: path → entry. Out: the tar, sorted, all files of root, at the epoch, without names, devices or extended headers.
 */
import { readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { pack } from 'tar-stream'

export type Entry =
  | { readonly kind: 'file'; readonly source: string; readonly executable: boolean }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'link'; readonly target: string }
  | { readonly kind: 'folder'; readonly mode: number }

/** Paths in the image, absolute, without a slash at the end. */
export type Entries = ReadonlyMap<string, Entry>

const EPOCH = new Date(0)
const FOLDER: Entry = { kind: 'folder', mode: 0o755 }

/** The layer's tar, not compressed. Parents that no entry names are folders of mode 0755. */
export async function packLayer(entries: Entries): Promise<Buffer> {
  const all = new Map(entries)
  for (const path of entries.keys())
    for (let up = dirname(path); up !== '/'; up = dirname(up)) if (!all.has(up)) all.set(up, FOLDER)
  const tar = pack()
  // By code units, and so a folder before what is in it.
  for (const [path, entry] of [...all].sort(([a], [b]) => (a < b ? -1 : 1)))
    addEntry(tar, path.slice(1), entry)
  tar.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of tar) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

function addEntry(tar: ReturnType<typeof pack>, name: string, entry: Entry): void {
  const common = { name, mtime: EPOCH, uid: 0, gid: 0 }
  if (entry.kind === 'folder') tar.entry({ ...common, type: 'directory', mode: entry.mode })
  else if (entry.kind === 'link')
    tar.entry({ ...common, type: 'symlink', linkname: entry.target, mode: 0o777 })
  else if (entry.kind === 'text') tar.entry({ ...common, mode: 0o644 }, entry.text)
  else {
    const mode = entry.executable ? 0o755 : 0o644
    tar.entry({ ...common, mode }, readFileSync(entry.source))
  }
}
