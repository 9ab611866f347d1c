/**
 * The real programs that tests run. A missing one fails loudly: tests never skip for want of a tool.
 */
import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'

export type Tool =
  | 'envoy'
  | 'opa'
  | 'etcd'
  | 'kube-apiserver'
  | 'prometheus'
  | 'promtool'
  | 'otelcol'
  | 'helm'

const MADE_BY: Readonly<Record<Tool, string>> = {
  envoy: 'make tools',
  opa: 'make tools',
  etcd: 'make test-tools',
  'kube-apiserver': 'make test-tools',
  prometheus: 'make test-tools',
  promtool: 'make test-tools',
  otelcol: 'make test-tools',
  helm: 'make cluster-tools',
}

/** Absolute path of a tool: POSTERN_<NAME> from the environment, else `.tools/<name>`. Throws when it can't be run. */
export function toolPath(name: Tool): string {
  const variable = `POSTERN_${name.toUpperCase().replace('-', '_')}`
  const path = process.env[variable] ?? join(import.meta.dirname, '../../.tools', name)
  try {
    accessSync(path, constants.X_OK)
  } catch {
    throw new Error(`${name} is not at ${path}; run \`${MADE_BY[name]}\` or set ${variable}`)
  }
  return path
}
