/**
 * Which namespaces are given the roots of the mesh, and as what. Pure; the chart and the webhook name the same.
 */
import type { Namespace } from './objects.ts'

export const ROOTS_NAME = 'postern-ca-roots'
export const ROOTS_KEY = 'ca.crt'
export const INJECT_LABEL = 'postern.dev/inject'
export const OWN_LABELS: Readonly<Record<string, string>> = {
  'app.kubernetes.io/part-of': 'postern',
  'app.kubernetes.io/managed-by': 'postern-controller',
}

export function isInjected({ labels }: Namespace['metadata']): boolean {
  return labels[INJECT_LABEL] === 'enabled'
}
