/**
 * The policy bundle: one workload's PolicySet and the WASM modules that it names, as a gzip-compressed tar.
 * The controller packs, the sidecar unpacks and verifies; equal content gives equal bytes and an equal revision.
 * Unpacking trusts nothing: sizes, names, types, digests, shape and revision are checked before anything is used.
 * Source: OPA bundle file format (`.manifest`), https://www.openpolicyagent.org/docs/management-bundles
 */
import { createHash } from 'node:crypto'
import { gunzipSync, gzipSync } from 'node:zlib'
import { extract, pack } from 'tar-stream'
import { MeshError } from './errors.ts'
import { FEATURES, missingFeatures, parseFeatures } from './features.ts'
import type { Policy, PolicySet } from './policy-set.ts'
import { parsePolicySet } from './policy-set-shape.ts'
import { remember } from './remember.ts'

export interface BundleContent {
  readonly set: PolicySet
  /** Module bytes by their lower-case hex SHA-256; exactly those that the set's policies name. */
  readonly wasm: ReadonlyMap<string, Uint8Array>
}

/** Bounds on what a sidecar takes in, in bytes and pieces. */
export interface BundleLimits {
  readonly maxArchiveBytes: number
  /** All files together, decompressed, tar framing included. */
  readonly maxUnpackedBytes: number
  readonly maxFiles: number
}

/** A module is 0.13–0.4 MB (OPA_WASM §1), so this is room for some hundred policies and their data. */
export const DEFAULT_BUNDLE_LIMITS: BundleLimits = {
  maxArchiveBytes: 64 * 1024 * 1024,
  maxUnpackedBytes: 256 * 1024 * 1024,
  maxFiles: 2048,
}

const MANIFEST = '.manifest'
const POLICIES = 'postern/policies.json'
const WASM_NAME = /^wasm\/([0-9a-f]{64})\.wasm$/
const REVISION_DOMAIN = 'postern-bundle/v1'
/** Most bundles are a few kilobytes, and an edit for all packs thousands: zlib's usual 256 KiB are for none of them. */
const SMALL_BYTES = 64 * 1024
const SMALL_GZIP = { windowBits: 12, memLevel: 4 }
/** Byte 9 of a gzip header names the operating system; 255 is "unknown" (RFC 1952 §2.3.1), so that it never differs. */
const GZIP_OS = 9

/** Lower-case hex SHA-256. */
export function sha256Hex(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** Content hash over the policies document and the digests of the modules, whatever the order given. */
export function bundleRevision(policiesJson: Uint8Array, wasmDigests: Iterable<string>): string {
  const lines = [REVISION_DOMAIN, sha256Hex(policiesJson), ...[...wasmDigests].sort()]
  return sha256Hex(lines.join('\n'))
}

/** JSON with sorted keys: equal values, equal bytes. What JSON can't say is left out, as `JSON.stringify` does. */
export function canonicalJson(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if ('toJSON' in value && typeof value.toJSON === 'function') return canonicalJson(value.toJSON())
  if (Array.isArray(value)) return `[${value.map((v) => canonicalJson(v) ?? 'null').join(',')}]`
  const fields = Object.keys(value)
    .sort()
    .flatMap((key) => {
      const text = canonicalJson((value as Record<string, unknown>)[key])
      return text === undefined ? [] : `${JSON.stringify(key)}:${text}`
    })
  return `{${fields.join(',')}}`
}

const digestOf = remember((bytes: Uint8Array) => sha256Hex(bytes))

/** The revision that `packBundle` gives. Errors: the same. */
export function revisionOf(content: BundleContent): string {
  const digests = namedDigests(content.set)
  for (const digest of digests) moduleOf(content, digest)
  return bundleRevision(Buffer.from(policiesJson(content.set)), digests)
}

const policyJson = remember((policy: Policy) => canonicalJson(policy))

/** The set's canonical JSON, of its policies' texts: one policy may stand in thousands of sets. */
function policiesJson({ policies, ...rest }: PolicySet): string {
  const others = Object.entries(rest).flatMap(([key, value]) => {
    const text = canonicalJson(value)
    return text === undefined ? [] : [[key, text] as const]
  })
  const list = `[${policies.map(policyJson).join(',')}]`
  const fields = [...others, ['policies', list] as const].sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${fields.map(([key, text]) => `${JSON.stringify(key)}:${text}`).join(',')}}`
}

function moduleOf({ wasm }: BundleContent, digest: string): Uint8Array {
  const bytes = wasm.get(digest)
  if (bytes === undefined) throw invalid(`wasm module ${digest} is missing`)
  if (digestOf(bytes) !== digest) throw invalid(`wasm module ${digest} has another digest`)
  return bytes
}

/**
 * The archive and its revision. Deterministic. Modules that no policy names are left out.
 * Errors: a policy whose module is not in `wasm`, or a module whose bytes don't have its digest: ERR_BUNDLE_INVALID.
 */
export async function packBundle(
  content: BundleContent,
): Promise<{ readonly revision: string; readonly archive: Uint8Array }> {
  const digests = namedDigests(content.set)
  const policies = Buffer.from(policiesJson(content.set))
  const revision = bundleRevision(policies, digests)
  const manifest = canonicalJson({
    revision,
    roots: [''],
    wasm: [],
    metadata: { workload: content.set.workload, formatVersion: '1', ...requiresOf(content.set) },
  })
  const files: [string, Uint8Array][] = [
    [MANIFEST, Buffer.from(manifest)],
    [POLICIES, policies],
  ]
  for (const digest of digests) files.push([`wasm/${digest}.wasm`, moduleOf(content, digest)])
  const tarball = await tar(files)
  const archive = gzipSync(tarball, tarball.length < SMALL_BYTES ? SMALL_GZIP : {})
  archive[GZIP_OS] = 255
  return { revision, archive }
}

/** Reads and verifies an archive. Errors: ERR_BUNDLE_INVALID, whose message says what is wrong. */
export async function unpackBundle(
  archive: Uint8Array,
  limits: BundleLimits = DEFAULT_BUNDLE_LIMITS,
): Promise<BundleContent & { readonly revision: string }> {
  const files = await untar(gunzip(archive, limits), limits)
  const manifest = parseJson(files, MANIFEST)
  refuseUnknownFeatures(manifest)
  const policies = files.get(POLICIES)
  if (policies === undefined) throw invalid(`${POLICIES} is missing`)
  const set = parsePolicySet(parseJson(files, POLICIES))
  if (typeof set === 'string') throw invalid(`${POLICIES}: ${set}`)

  const digests = namedDigests(set)
  const wasm = new Map<string, Uint8Array>()
  for (const digest of digests) {
    const bytes = files.get(`wasm/${digest}.wasm`)
    if (bytes === undefined) throw invalid(`wasm module ${digest} is missing`)
    if (sha256Hex(bytes) !== digest) throw invalid(`wasm module ${digest} has another digest`)
    wasm.set(digest, bytes)
  }
  if (files.size !== wasm.size + 2) throw invalid('a wasm module is not named by any policy')

  const revision = bundleRevision(policies, digests)
  if (readRevision(manifest) !== revision) throw invalid('revision does not match the content')
  return { revision, set, wasm }
}

/** Digests that the set's policies name, sorted, each once. */
function namedDigests(set: PolicySet): string[] {
  const digests = set.policies.flatMap((p) => (p.rego === undefined ? [] : [p.rego.wasmDigest]))
  return [...new Set(digests)].sort()
}

function requiresOf({ requires }: PolicySet): { readonly requires?: readonly string[] } {
  return requires === undefined ? {} : { requires }
}

/** Before anything else is read: what a later version wrote may look like something else to this one. */
function refuseUnknownFeatures(manifest: unknown): void {
  const { metadata } = (manifest ?? {}) as { metadata?: { requires?: unknown } | null }
  const requires = metadata?.requires
  if (requires === undefined) return
  const tokens = parseFeatures(requires)
  if (!Array.isArray(requires) || tokens.length !== requires.length)
    throw invalid(`${MANIFEST}: metadata.requires is no list of feature tokens`)
  const lacked = missingFeatures(tokens, FEATURES)
  if (lacked.length > 0)
    throw invalid(`it needs ${lacked.join(', ')}, which this version does not have; upgrade it`)
}

function readRevision(manifest: unknown): unknown {
  return typeof manifest === 'object' && manifest !== null && 'revision' in manifest
    ? manifest.revision
    : undefined
}

function parseJson(files: ReadonlyMap<string, Uint8Array>, name: string): unknown {
  const bytes = files.get(name)
  if (bytes === undefined) throw invalid(`${name} is missing`)
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw invalid(`${name} is not JSON`, cause)
  }
}

function gunzip(archive: Uint8Array, limits: BundleLimits): Uint8Array {
  if (archive.byteLength > limits.maxArchiveBytes) throw invalid('archive is too large')
  try {
    return gunzipSync(archive, { maxOutputLength: limits.maxUnpackedBytes })
  } catch (cause) {
    throw invalid('archive is not gzip, is cut off, or unpacks to more than is allowed', cause)
  }
}

/** Sorted names, fixed times, owners and modes. */
async function tar(files: readonly (readonly [string, Uint8Array])[]): Promise<Buffer> {
  const archive = pack()
  const sorted = [...files].sort(([a], [b]) => (a < b ? -1 : 1))
  for (const [name, bytes] of sorted) {
    archive.entry({ name, mtime: new Date(0), mode: 0o644, uid: 0, gid: 0 }, Buffer.from(bytes))
  }
  archive.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of archive) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

/** Plain files of exactly our names; nothing else is taken, so no path can lead anywhere. */
function untar(bytes: Uint8Array, limits: BundleLimits): Promise<Map<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>()
  const { promise, resolve, reject } = Promise.withResolvers<Map<string, Uint8Array>>()
  const reader = extract()
  reader.on('entry', (header, stream, next) => {
    const problem = entryProblem(header.name, header.type ?? 'file', files, limits)
    stream.on('error', reject)
    if (problem !== undefined) {
      reader.destroy(invalid(problem))
      return
    }
    const chunks: Buffer[] = []
    stream.on('data', (chunk) => chunks.push(chunk as Buffer))
    stream.on('end', () => {
      files.set(header.name, Buffer.concat(chunks))
      next()
    })
  })
  reader.on('error', (e) => reject(e instanceof MeshError ? e : invalid('archive is not tar', e)))
  reader.on('finish', () => resolve(files))
  reader.end(bytes)
  return promise
}

function entryProblem(
  name: string,
  type: string,
  files: ReadonlyMap<string, Uint8Array>,
  limits: BundleLimits,
): string | undefined {
  if (type !== 'file') return `${JSON.stringify(name)} is a ${type}, not a file`
  if (name !== MANIFEST && name !== POLICIES && !WASM_NAME.test(name))
    return `unknown file ${JSON.stringify(name)}`
  if (files.has(name)) return `${name} is there twice`
  if (files.size >= limits.maxFiles) return 'too many files'
  return undefined
}

function invalid(message: string, cause?: unknown): MeshError {
  return new MeshError('ERR_BUNDLE_INVALID', message, cause === undefined ? {} : { cause })
}
