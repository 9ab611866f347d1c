/**
 * The third reader of a differential test: one long-lived `opa run --server` that holds the module of every set, and
 * answers many requests in one call. In: modules by name. Out: whether each module allows each input.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { PolicySet } from '../../../common/policy-set.ts'
import { toRego } from '../../../controller/core/lanes/to-rego.ts'
import { freePort } from '../ports.ts'
import { startProcess } from '../process.ts'
import { tempDir } from '../tempdir.ts'
import { toolPath } from '../tools.ts'
import type { Scope } from './scope.ts'

export interface OracleRequest {
  /** Index of the set. */
  readonly set: number
  /** opa-envoy-plugin's input, `rego` beside it. */
  readonly input: unknown
}

export interface Oracle {
  /** One boolean for each request, in order. Throws when a module says neither. */
  allows(requests: readonly OracleRequest[]): Promise<readonly boolean[]>
}

const BATCH = 500
const START_MS = 120_000
const PREFIX = 'postern.sets'

/** `default allow := false` makes every answer a boolean; a conflict or another error fails the whole batch. */
const MODULE = `package postern.batch

answers := [a | some r in input.requests; a := data.${PREFIX}[r.set].allow with input as r.input]
`

export async function startOracle(
  t: Scope,
  sets: readonly PolicySet[],
  protocol: 'http' | 'tcp' = 'http',
): Promise<Oracle> {
  const folder = join(tempDir(t), 'rego')
  mkdirSync(folder)
  writeFileSync(join(folder, 'batch.rego'), MODULE)
  for (const [i, set] of sets.entries()) {
    const text = toRego(set, { package: `${PREFIX}.s${i}`, protocol })
    writeFileSync(join(folder, `s${i}.rego`), text)
  }
  const address = `127.0.0.1:${await freePort()}`
  const server = startProcess(t, toolPath('opa'), [
    ...['run', '--server', '--addr', address, '--log-level', 'error', '--disable-telemetry'],
    folder,
  ])
  const isUp = async () => (await fetch(`http://${address}/health`)).ok
  await server.waitFor(isUp, { signal: AbortSignal.timeout(START_MS) })
  return {
    async allows(requests) {
      const all: boolean[] = []
      for (let at = 0; at < requests.length; at += BATCH) {
        all.push(...(await ask(address, requests.slice(at, at + BATCH))))
      }
      return all
    },
  }
}

async function ask(address: string, requests: readonly OracleRequest[]): Promise<boolean[]> {
  const named = requests.map(({ set, input }) => ({ set: `s${set}`, input }))
  const response = await fetch(`http://${address}/v1/data/postern/batch/answers`, {
    method: 'POST',
    body: JSON.stringify({ input: { requests: named } }),
  })
  const body = (await response.json()) as { readonly result?: readonly boolean[] }
  if (body.result?.length !== requests.length) {
    throw new Error(`OPA: ${response.status} ${JSON.stringify(body).slice(0, 2000)}`)
  }
  return [...body.result]
}
