/**
 * A real Prometheus that scrapes a stack and knows our alert rules. In: the stack. Out: which alerts fire now.
 * For a drill time is short: rules are looked at each second, and their waits and windows are cut to seconds.
 */
import { spawn } from 'node:child_process'
import { mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { waitFor } from '../demo/process.ts'
import type { Stack } from '../demo/stack.ts'
import { toolPath } from '../test/kit/tools.ts'

const RULES = fileURLToPath(new URL('../docs/prometheus/alerts.yaml', import.meta.url))
const START_MS = 30_000

export interface Prometheus {
  /** Names of the alerts that fire now. */
  firing(): Promise<ReadonlySet<string>>
  /** The values of an instant query. */
  query(expression: string): Promise<readonly number[]>
  /** Names of all metrics that it has scraped. */
  names(): Promise<ReadonlySet<string>>
  stop(): Promise<void>
}

/** The rules with seconds in place of minutes. */
export function quicken(rules: string): string {
  return rules.replaceAll(/\bfor: \d+[mh]/g, 'for: 2s').replaceAll(/\[\d+m\]/g, '[8s]')
}

/** Resolves when all targets were scraped. `workloads` are those of the stack's sidecars. */
export async function startPrometheus(
  stack: Stack,
  { port, workloads }: { readonly port: number; readonly workloads: readonly string[] },
): Promise<Prometheus> {
  const dir = join(stack.work, 'prometheus')
  mkdirSync(dir, { recursive: true })
  writeFileSync(join(dir, 'rules.yaml'), quicken(readFileSync(RULES, 'utf8')))
  const targets = [stack.controllerPort + 1, ...workloads.map((w) => stack.healthPort(w))]
  const config = {
    global: { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' },
    rule_files: ['rules.yaml'],
    scrape_configs: [
      { job_name: 'postern', static_configs: [{ targets: targets.map((p) => `127.0.0.1:${p}`) }] },
    ],
  }
  writeFileSync(join(dir, 'prometheus.yml'), JSON.stringify(config))
  const log = openSync(join(dir, 'prometheus.log'), 'a', 0o600)
  const args = [
    ...['--pdeathsig', 'KILL', '--', toolPath('prometheus')],
    `--config.file=${join(dir, 'prometheus.yml')}`,
    `--storage.tsdb.path=${join(dir, 'data')}`,
    `--web.listen-address=127.0.0.1:${port}`,
  ]
  const child = spawn('setpriv', args, { stdio: ['ignore', log, log] })
  const ended = new Promise<void>((resolve) => child.on('exit', () => resolve()))
  const api = new Api(port)
  const prometheus: Prometheus = {
    firing: () => api.firing(),
    query: (expression) => api.query(expression),
    names: () => api.names(),
    stop: async () => {
      child.kill('SIGKILL')
      await ended
    },
  }
  try {
    const isUp = async () => (await api.query('sum(up)'))[0] === targets.length
    await waitFor('Prometheus scrapes all', isUp, { timeoutMs: START_MS })
    return prometheus
  } catch (error) {
    await prometheus.stop()
    throw error
  }
}

interface Sample {
  readonly value: readonly [number, string]
}

interface Alert {
  readonly state: string
  readonly labels: Readonly<Record<string, string>>
}

class Api {
  readonly #base: string

  constructor(port: number) {
    this.#base = `http://127.0.0.1:${port}/api/v1`
  }

  async firing(): Promise<ReadonlySet<string>> {
    const data = await this.#get<{ readonly alerts: readonly Alert[] }>('/alerts')
    const firing = (data?.alerts ?? []).filter(({ state }) => state === 'firing')
    return new Set(firing.map(({ labels }) => labels.alertname ?? ''))
  }

  async query(expression: string): Promise<readonly number[]> {
    const path = `/query?query=${encodeURIComponent(expression)}`
    const data = await this.#get<{ readonly result: readonly Sample[] }>(path)
    return (data?.result ?? []).map(({ value }) => Number(value[1]))
  }

  async names(): Promise<ReadonlySet<string>> {
    return new Set(await this.#get<readonly string[]>('/label/__name__/values'))
  }

  /** Undefined while it does not answer. */
  async #get<T>(path: string): Promise<T | undefined> {
    try {
      const response = await fetch(this.#base + path)
      return ((await response.json()) as { readonly data: T }).data
    } catch {
      return undefined
    }
  }
}
