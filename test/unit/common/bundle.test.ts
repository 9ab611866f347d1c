import { createHash } from 'node:crypto'
import { gunzipSync, gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { pack } from 'tar-stream'
import {
  bundleRevision,
  canonicalJson,
  DEFAULT_BUNDLE_LIMITS,
  packBundle,
  unpackBundle,
} from '../../../common/bundle.ts'
import type { Policy, PolicySet } from '../../../common/policy-set.ts'

type HeaderInit = { name: string; type?: 'symlink'; linkname?: string }

const WASM = Buffer.from('\0asm module')
const DIGEST = createHash('sha256').update(WASM).digest('hex')

function makePolicy(over: Partial<Policy> = {}): Policy {
  return {
    namespace: 'shop',
    name: 'orders',
    action: 'ALLOW',
    mode: 'Enforce',
    required: false,
    onError: 'Deny',
    rego: { entrypoint: 'envoy/authz/allow', wasmDigest: DIGEST, data: {}, readsBody: false },
    ...over,
  }
}

function makeSet(over: Partial<PolicySet> = {}): PolicySet {
  return {
    workload: 'shop/orders',
    trustDomain: 'mesh.local',
    defaultAction: 'DENY',
    defaultMode: 'Enforce',
    policies: [makePolicy()],
    ...over,
  }
}

const wasm = new Map([[DIGEST, new Uint8Array(WASM)]])

/** An archive of exactly these files, as an attacker would make it. */
async function archiveOf(
  files: readonly [string | HeaderInit, string | Buffer][],
): Promise<Buffer> {
  const tar = pack()
  for (const [head, bytes] of files)
    tar.entry(typeof head === 'string' ? { name: head } : head, Buffer.from(bytes))
  tar.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of tar) chunks.push(chunk as Buffer)
  return gzipSync(Buffer.concat(chunks))
}

/** The files of a good bundle over any document, with the revision that belongs to it. */
function goodFiles(set: unknown = makeSet()): [string, string | Buffer][] {
  const policies = canonicalJson(set)
  return [
    ['.manifest', JSON.stringify({ revision: bundleRevision(Buffer.from(policies), [DIGEST]) })],
    ['postern/policies.json', policies],
    [`wasm/${DIGEST}.wasm`, WASM],
  ]
}

async function refuses(t: Test, archive: Uint8Array, message: RegExp): Promise<void> {
  await t.rejects(unpackBundle(archive), { code: 'ERR_BUNDLE_INVALID', message })
}

t.test('what was packed is what is unpacked', async (t) => {
  const { revision, archive } = await packBundle({ set: makeSet(), wasm })
  const got = await unpackBundle(archive)
  t.same(got.set, makeSet())
  t.same([...got.wasm.keys()], [DIGEST])
  t.same(Buffer.from(got.wasm.get(DIGEST) ?? []), WASM)
  t.equal(got.revision, revision)
})

t.test('what needs a feature of a later version is refused, and says which', async (t) => {
  const known = await packBundle({ set: makeSet({ requires: ['when/source.ip'] }), wasm })
  t.same((await unpackBundle(known.archive)).set.requires, ['when/source.ip'])
  const lacked = /it needs when\/moon.phase, which this version does not have/
  const set = makeSet({ requires: ['when/moon.phase', 'when/source.ip'] })
  await refuses(t, (await packBundle({ set, wasm })).archive, lacked)
  await refuses(t, await archiveOf(goodFiles(set)), /it needs the feature when\/moon.phase/)
})

t.test('equal content gives equal bytes, whatever the order of fields and modules', async (t) => {
  const other = Buffer.from('second module')
  const otherDigest = createHash('sha256').update(other).digest('hex')
  const second = makePolicy({
    name: 'second',
    rego: { entrypoint: 'a/b', wasmDigest: otherDigest, data: { b: 1, a: 2 }, readsBody: true },
  })
  const policies = [makePolicy(), second]
  const a = await packBundle({
    set: makeSet({ policies }),
    wasm: new Map([...wasm, [otherDigest, other]]),
  })
  const shuffled = Object.fromEntries(Object.entries(makeSet({ policies })).reverse()) as unknown
  const b = await packBundle({
    set: shuffled as PolicySet,
    wasm: new Map([[otherDigest, other], ...wasm]),
  })
  t.same(a.archive, b.archive)
  t.equal(a.revision, b.revision)
  t.equal(a.archive[4], 0, 'no time in the gzip header')
  t.equal(a.archive[9], 255, 'no operating system in the gzip header')
})

t.test('the revision changes with any policy and with any module', async (t) => {
  const base = bundleRevision(Buffer.from('{}'), ['a', 'b'])
  t.not(bundleRevision(Buffer.from('{ }'), ['a', 'b']), base)
  t.not(bundleRevision(Buffer.from('{}'), ['a', 'c']), base)
  t.equal(bundleRevision(Buffer.from('{}'), ['b', 'a']), base)
})

t.test('one module for two policies is packed once', async (t) => {
  const set = makeSet({ policies: [makePolicy(), makePolicy({ name: 'twin' })] })
  const { archive } = await packBundle({ set, wasm })
  t.equal((await unpackBundle(archive)).wasm.size, 1)
})

t.test('packing refuses a module that is missing or has another digest', async (t) => {
  await t.rejects(packBundle({ set: makeSet(), wasm: new Map() }), { code: 'ERR_BUNDLE_INVALID' })
  await t.rejects(packBundle({ set: makeSet(), wasm: new Map([[DIGEST, Buffer.from('x')]]) }), {
    code: 'ERR_BUNDLE_INVALID',
  })
})

t.test('the hand-made good archive of these tests is accepted', async (t) => {
  t.equal((await unpackBundle(await archiveOf(goodFiles()))).set.workload, 'shop/orders')
})

t.test('refuses what is not a gzip tar', async (t) => {
  await refuses(t, Buffer.from('hello'), /not gzip/)
  await refuses(t, gzipSync(Buffer.alloc(700, 7)), /not tar/)
  const whole = await archiveOf(goodFiles())
  await refuses(t, whole.subarray(0, whole.length - 20), /not gzip/)
  await refuses(t, gzipSync(gunzipSync(whole).subarray(0, 1300)), /./)
})

t.test('refuses an archive that unpacks to more than the limit', async (t) => {
  const bomb = await archiveOf([...goodFiles(), ['x', Buffer.alloc(4_000_000)]])
  await t.rejects(unpackBundle(bomb, { ...DEFAULT_BUNDLE_LIMITS, maxUnpackedBytes: 1_000_000 }), {
    code: 'ERR_BUNDLE_INVALID',
    message: /more than is allowed/,
  })
  await t.rejects(unpackBundle(bomb, { ...DEFAULT_BUNDLE_LIMITS, maxArchiveBytes: 100 }), {
    code: 'ERR_BUNDLE_INVALID',
    message: /too large/,
  })
  await t.rejects(
    unpackBundle(await archiveOf(goodFiles()), { ...DEFAULT_BUNDLE_LIMITS, maxFiles: 2 }),
    {
      message: /too many files/,
    },
  )
})

t.test('refuses names, types and files that are not ours', async (t) => {
  for (const name of [
    '../evil',
    '/etc/passwd',
    'wasm/../../x',
    `./wasm/${DIGEST}.wasm`,
    'postern/x',
  ])
    await refuses(t, await archiveOf([...goodFiles(), [name, 'x']]), /unknown file/)
  const link: HeaderInit = {
    name: 'postern/policies.json',
    type: 'symlink',
    linkname: '/etc/passwd',
  }
  await refuses(t, await archiveOf([[link, '']]), /not a file/)
  const twice = goodFiles()
  await refuses(t, await archiveOf([...twice, ['.manifest', '{}']]), /twice/)
})

t.test('refuses a module that is missing, changed or not named by a policy', async (t) => {
  const [manifest, policies] = goodFiles()
  if (manifest === undefined || policies === undefined) return t.fail()
  await refuses(t, await archiveOf([manifest, policies]), /is missing/)
  await refuses(
    t,
    await archiveOf([manifest, policies, [`wasm/${DIGEST}.wasm`, 'evil']]),
    /another digest/,
  )
  const stray = createHash('sha256').update('stray').digest('hex')
  await refuses(
    t,
    await archiveOf([...goodFiles(), [`wasm/${stray}.wasm`, 'stray']]),
    /not named by any policy/,
  )
})

t.test('refuses a revision that is not the content hash', async (t) => {
  const files = goodFiles()
  const changed = canonicalJson(makeSet({ defaultAction: 'ALLOW' }))
  files[1] = ['postern/policies.json', changed]
  await refuses(t, await archiveOf(files), /revision does not match/)
  for (const manifest of ['{}', 'null', '{"revision":1}']) {
    const other = goodFiles()
    other[0] = ['.manifest', manifest]
    await refuses(t, await archiveOf(other), /revision does not match/)
  }
})

t.test('refuses documents that are missing or not JSON', async (t) => {
  const files = goodFiles()
  await refuses(t, await archiveOf(files.slice(1)), /\.manifest is missing/)
  await refuses(t, await archiveOf(files.slice(0, 1)), /policies\.json is missing/)
  files[1] = ['postern/policies.json', Buffer.from([0x22, 0xff, 0x22])]
  await refuses(t, await archiveOf(files), /not JSON/)
})

t.test('refuses a set whose shape it does not know', async (t) => {
  const rego = makePolicy().rego
  const bad: [unknown, RegExp][] = [
    [[], /not an object/],
    [{ ...makeSet(), extra: 1 }, /extra: unknown field/],
    [{ ...makeSet(), defaultAction: 'MAYBE' }, /defaultAction/],
    [{ ...makeSet(), trustDomain: 'A B' }, /trustDomain/],
    [{ ...makeSet(), policies: {} }, /not a list/],
    [makeSet({ policies: [{ ...makePolicy(), unless: [] } as Policy] }), /unless: unknown field/],
    [{ ...makeSet(), policies: [{ ...makePolicy(), required: undefined }] }, /required/],
    [
      { ...makeSet(), policies: [{ ...makePolicy(), rego: { ...rego, wasmDigest: '../x' } }] },
      /wasmDigest/,
    ],
  ]
  for (const [set, message] of bad) await refuses(t, await archiveOf(goodFiles(set)), message)
})
