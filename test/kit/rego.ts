/**
 * Rego text → a WASM module, by the real opa. For tests only: nothing is cached, one process per call.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { extract } from 'tar-stream'
import { toolPath } from './tools.ts'

export interface RegoSource {
  readonly rego: string
  /** Slash path. Default `envoy/authz/allow`. */
  readonly entrypoint?: string
  readonly isV0?: boolean
}

/** Throws with opa's own words when it does not compile. */
export async function compileRego(source: RegoSource): Promise<Uint8Array> {
  const dir = mkdtempSync(join(tmpdir(), 'postern-rego-'))
  try {
    const [module, bundle] = [join(dir, 'policy.rego'), join(dir, 'bundle.tar.gz')]
    writeFileSync(module, source.rego)
    const flags = ['-t', 'wasm', '-e', source.entrypoint ?? 'envoy/authz/allow', '-o', bundle]
    if (source.isV0) flags.push('--v0-compatible')
    execFileSync(toolPath('opa'), ['build', ...flags, module], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    return await readEntry(gunzipSync(readFileSync(bundle)), '/policy.wasm')
  } finally {
    rmSync(dir, { recursive: true })
  }
}

async function readEntry(tar: Buffer, name: string): Promise<Uint8Array> {
  const reader = extract()
  reader.end(tar)
  for await (const entry of reader) {
    const chunks: Buffer[] = []
    for await (const chunk of entry) chunks.push(chunk as Buffer)
    if (entry.header.name === name) return Buffer.concat(chunks)
  }
  throw new Error(`opa's bundle has no ${name}`)
}
