/**
 * Paths into an object, as Kubernetes writes them: `spec.rules[0].from[0]`, `metadata.labels[app.kubernetes.io/name]`.
 */

export type FieldPath = readonly (string | number)[]

const PLAIN_KEY = /^[A-Za-z_][A-Za-z0-9_-]*$/

/** Empty for the whole object. Keys that are no plain names stand in brackets, like indices. */
export function formatPath(path: FieldPath): string {
  let text = ''
  for (const part of path) {
    if (typeof part === 'number' || !PLAIN_KEY.test(part)) text += `[${part}]`
    else text += text === '' ? part : `.${part}`
  }
  return text
}
