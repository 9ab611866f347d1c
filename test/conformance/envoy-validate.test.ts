/**
 * Every golden is taken by the real Envoy, in two forms. As published: references to ADS are left as they are, so that
 * these are right too. As delivered: ECDS, SDS and EDS replaced by what they deliver, so that all of it is parsed.
 */
import { execFile } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { JsonObject, JsonValue } from '@bufbuild/protobuf'
import { type Test, t } from 'tap'
import { parse } from 'yaml'
import { makeCa, makeSvid, toPem } from '../kit/identity.ts'
import {
  rewrite,
  type StaticParts,
  toDynamicBootstrap,
  toStaticBootstrap,
} from '../kit/static-bootstrap.ts'
import { toolPath } from '../kit/tools.ts'
import { buildXdsCase } from '../kit/xds-cases.ts'

const GOLDEN = join(import.meta.dirname, '../golden/xds')
const KINDS = ['listeners', 'routes', 'clusters', 'endpoints', 'extensions', 'secrets'] as const
const svid = await makeSvidSecret()

async function makeSvidSecret(): Promise<JsonObject> {
  const made = await makeSvid(await makeCa())
  const key = made.key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  return {
    name: 'default',
    tlsCertificate: {
      certificateChain: { inlineString: toPem(made.der) },
      privateKey: { inlineString: key },
    },
  }
}

/** The golden resources of each workload of a case. */
function readCase(name: string): ReadonlyMap<string, StaticParts> {
  const present = readdirSync(join(GOLDEN, name))
  const files = KINDS.map((kind) => {
    const file = `out.${kind}.yaml`
    const text = present.includes(file) ? readFileSync(join(GOLDEN, name, file), 'utf8') : '{}'
    return [kind, parse(text) as Record<string, JsonValue[]>] as const
  })
  const keys = new Set(files.flatMap(([, byWorkload]) => Object.keys(byWorkload)))
  return new Map(
    [...keys].map((key) => {
      const parts = files.map(([kind, byWorkload]) => [kind, byWorkload[key] ?? []] as const)
      const all = Object.fromEntries(parts) as unknown as StaticParts
      return [key, { ...all, secrets: [...all.secrets, svid] }] as const
    }),
  )
}

interface Verdict {
  readonly accepted: boolean
  readonly said: string
}

function validate(t: Test, bootstrap: JsonObject): Promise<Verdict> {
  const dir = t.testdir({ 'bootstrap.json': JSON.stringify(bootstrap) })
  const args = ['--mode', 'validate', '-c', join(dir, 'bootstrap.json'), '-l', 'error']
  return new Promise((resolve) => {
    execFile(toolPath('envoy'), args, { timeout: 30_000 }, (error, stdout, stderr) =>
      resolve({ accepted: error === null, said: `${stdout}${stderr}` }),
    )
  })
}

const cases = readdirSync(GOLDEN)

t.test('there are cases', async (t) => {
  t.ok(cases.length >= 10)
})

for (const name of cases) {
  for (const [workload, parts] of readCase(name)) {
    t.test(`Envoy takes ${name} of ${workload}`, async (t) => {
      t.match(await validate(t, toDynamicBootstrap(parts)), { accepted: true }, 'as published')
      t.match(await validate(t, toStaticBootstrap(parts)), { accepted: true }, 'as delivered')
    })
  }
}

t.test('Envoy takes what an older sidecar is given', async (t) => {
  for (const name of ['mixed', 'permissive', 'body-rego']) {
    const { workloads } = buildXdsCase(readFileSync(join(GOLDEN, name, 'in.yaml'), 'utf8'), 'older')
    t.not(workloads.size, 0)
    for (const [workload, parts] of workloads) {
      const all = { ...parts, secrets: [...parts.secrets, svid] }
      const verdict = await validate(t, toStaticBootstrap(all))
      t.match(verdict, { accepted: true }, `${name} of ${workload}`)
      t.match(JSON.stringify(all.listeners), /"name":"ext_authz\/\d+\/tls"/)
    }
  }
})

/** What one change in a golden makes Envoy say. A change that finds nothing to change is a mistake of the test. */
const BROKEN: readonly {
  readonly what: string
  readonly says: RegExp
  readonly change: (object: JsonObject) => JsonObject | undefined
}[] = [
  {
    what: 'a regular expression that is none',
    says: /missing \)/,
    change: (o) => (typeof o.regex === 'string' ? { ...o, regex: '(' } : undefined),
  },
  {
    what: 'a field that does not exist',
    says: /no_such/,
    change: (o) => (o.rulesStatPrefix === undefined ? undefined : { ...o, no_such: 1 }),
  },
  {
    what: 'a trust bundle that is no certificate',
    says: /Failed to load trusted CA/,
    change: (o) => (o.trustedCa === undefined ? undefined : { trustedCa: { inlineString: 'no' } }),
  },
  {
    what: 'an app cluster that is not there',
    says: /unknown cluster 'gone'/,
    change: (o) => (o.cluster === 'inbound/8002' ? { ...o, cluster: 'gone' } : undefined),
  },
  {
    what: 'an ext_authz of another transport version',
    says: /V2 xDS transport/,
    change: (o) =>
      o.statusOnError === undefined ? undefined : { ...o, transportApiVersion: 'V2' },
  },
]

t.test('Envoy refuses a slot that takes a type that is none', async (t) => {
  const parts = readCase('strict-http').get('shop/orders')
  if (parts === undefined) throw new Error('the case has no shop/orders')
  const bootstrap = rewrite(toDynamicBootstrap(parts), [
    (o) => (o.typeUrls === undefined ? o : { ...o, typeUrls: ['type.googleapis.com/no.Such'] }),
  ]) as JsonObject
  const verdict = await validate(t, bootstrap)
  t.notOk(verdict.accepted)
  t.match(verdict.said, /no.Such/)
})

for (const { what, says, change } of BROKEN) {
  t.test(`Envoy refuses ${what}`, async (t) => {
    const parts = readCase('mixed').get('shop/orders')
    if (parts === undefined) throw new Error('the case has no shop/orders')
    let changes = 0
    const bootstrap = rewrite(toStaticBootstrap(parts), [
      (object) => {
        const changed = change(object)
        if (changed !== undefined) changes++
        return changed ?? object
      },
    ]) as JsonObject
    t.ok(changes > 0, 'something was changed')
    const verdict = await validate(t, bootstrap)
    t.notOk(verdict.accepted)
    t.match(verdict.said, says)
  })
}
