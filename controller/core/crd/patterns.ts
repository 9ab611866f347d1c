/**
 * What the patterns of the CRDs say in words. Patterns of rules (paths, principals, …) are told by semantics.ts.
 */

interface PatternText {
  readonly message: string
  readonly remedy: string
}

const LABEL = '[a-z0-9](?:[a-z0-9-]*[a-z0-9])?'

const TEXTS: ReadonlyMap<string, PatternText> = new Map([
  [
    `^${LABEL}$`,
    {
      message:
        'is no DNS label: lower-case letters, digits and "-", with a letter or digit at both ends',
      remedy: 'write a name such as "orders" or "http-2"',
    },
  ],
  [
    `^${LABEL}(?:\\.${LABEL})*$`,
    {
      message: 'is no object name: DNS labels of lower-case letters, digits and "-", joined by "."',
      remedy: 'write a name such as "orders"',
    },
  ],
  [
    `^(?:${LABEL}/)?${LABEL}$`,
    {
      message: 'is neither the name of a service nor namespace/name',
      remedy: 'write "orders" or "shop/orders"; the port goes to "servicePort"',
    },
  ],
  [
    '^[a-z0-9._-]+$',
    {
      message: 'is no trust domain: lower-case letters, digits, ".", "_" and "-"',
      remedy: 'write a name such as "example.org", without scheme and port',
    },
  ],
  [
    '^(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)?$',
    {
      message:
        'is no label value: letters, digits, "-", "_" and ".", with a letter or digit at both ends',
      remedy: 'compare it with the labels of the workloads',
    },
  ],
  [
    '^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$',
    {
      message: 'is no protocol name: a word, or domain/word',
      remedy: 'write "http", "grpc", "kubernetes.io/h2c", "mysql"',
    },
  ],
  [
    '^(\\[[0-9a-fA-F:.]+\\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?):[0-9]{1,5}$',
    {
      message: 'is no host:port',
      remedy: 'write "127.0.0.1:4317", "collector.example:4317" or "[::1]:4317"',
    },
  ],
  [
    '^[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)+$',
    {
      message: 'is no entrypoint: package and rule, joined by "/"',
      remedy: 'write "envoy/authz/allow" for rule "allow" of package envoy.authz',
    },
  ],
  [
    '^[A-Za-z0-9_][A-Za-z0-9._-]*$',
    {
      message: 'is no module name: letters, digits, ".", "_" and "-"',
      remedy: 'write a name such as "roles.rego"',
    },
  ],
  [
    '^(?:[0-9]{1,5}(?:h|m|s|ms)){1,4}$',
    {
      message: 'is no duration: whole numbers with a unit, h, m, s or ms',
      remedy: 'write "500ms", "10s" or "1h30m"',
    },
  ],
])

/** Patterns that have words here, for the test that every pattern is explained somewhere. */
export const DESCRIBED_PATTERNS: ReadonlySet<string> = new Set(TEXTS.keys())

export function describePattern(pattern: string, value: unknown): PatternText {
  const text = TEXTS.get(pattern)
  const shown = JSON.stringify(value)
  if (text === undefined) {
    return {
      message: `${shown} does not have the form ${pattern}`,
      remedy: 'compare it with docs/reference/crds.md',
    }
  }
  return { message: `${shown} ${text.message}`, remedy: text.remedy }
}
