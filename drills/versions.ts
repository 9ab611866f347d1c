/**
 * Earlier versions of Postern, as they were: packed by scripts/pack-version.ts, run with today's node_modules.
 * In: a version. Out: the path of its `cli/main.ts`, for as long as it is used.
 */
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { extract } from 'tar-stream'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** The commit that each archive was made of. */
export const VERSIONS = { '0.1': '48920bb' } as const

export function archiveOf(version: keyof typeof VERSIONS): string {
  return join(ROOT, 'test/fixtures/versions', `${version}.tar.gz`)
}

/** Runs with the path of that version's `cli/main.ts`. */
export async function withVersion<T>(
  version: keyof typeof VERSIONS,
  run: (cli: string) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'postern-version-'))
  try {
    return await run(await unpackVersion(version, folder))
  } finally {
    await rm(folder, { recursive: true })
  }
}

async function unpackVersion(version: keyof typeof VERSIONS, folder: string): Promise<string> {
  const reader = extract()
  reader.end(gunzipSync(readFileSync(archiveOf(version))))
  for await (const entry of reader) {
    const path = join(folder, entry.header.name)
    mkdirSync(dirname(path), { recursive: true })
    const chunks: Buffer[] = []
    for await (const chunk of entry) chunks.push(chunk as Buffer)
    writeFileSync(path, Buffer.concat(chunks))
  }
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
  return join(folder, 'cli/main.ts')
}
