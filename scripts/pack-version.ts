/**
 * Packs what an earlier version needs to run, out of git, for the tests of version skew: clones may be shallow, so the
 * archive is kept in test/fixtures/versions. Equal commits give equal bytes. It runs with today's node_modules.
 * Usage: pack-version.ts NAME COMMIT. Errors: the commit is not in this clone.
 */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { extract, pack } from 'tar-stream'

const ROOT = join(import.meta.dirname, '..')
/** What `postern controller` and `postern sidecar` read; types are erased at the start, declarations never read. */
const WANTED = /^(package\.json|(cli|common|controller|host|sidecar)\/.*\.ts|proto\/gen\/.*\.js)$/

/** The archive of a commit. */
export async function packVersion(commit: string): Promise<Buffer> {
  const options = { cwd: ROOT, maxBuffer: 256 * 1024 * 1024 }
  const reader = extract()
  reader.end(execFileSync('git', ['archive', '--format=tar', commit], options))
  const files = new Map<string, Buffer>()
  for await (const entry of reader) {
    const bytes: Buffer[] = []
    for await (const chunk of entry) bytes.push(chunk as Buffer)
    if (WANTED.test(entry.header.name)) files.set(entry.header.name, Buffer.concat(bytes))
  }
  const archive = pack()
  for (const [name, bytes] of [...files].sort(([a], [b]) => (a < b ? -1 : 1)))
    archive.entry({ name, mtime: new Date(0), mode: 0o644, uid: 0, gid: 0 }, bytes)
  archive.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of archive) chunks.push(chunk as Buffer)
  const packed = gzipSync(Buffer.concat(chunks), { level: 9 })
  // Byte 9 of a gzip header names the operating system; 255 is "unknown" (RFC 1952 §2.3.1).
  packed[9] = 255
  return packed
}

if (import.meta.main) {
  const [name, commit] = process.argv.slice(2)
  if (name === undefined || commit === undefined)
    throw new Error('usage: pack-version.ts NAME COMMIT')
  writeFileSync(join(ROOT, `test/fixtures/versions/${name}.tar.gz`), await packVersion(commit))
}
