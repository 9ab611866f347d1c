/**
 * What a parsed module declares: its package and rules, as the slash paths that an entrypoint names.
 * In: what `opa parse --format json` prints. Out: sorted unique paths, such as `envoy/authz/allow`.
 */

interface Term {
  readonly type: string
  readonly value: unknown
}

interface Module {
  readonly package?: { readonly path?: readonly Term[] }
  readonly rules?: readonly { readonly head?: Head }[] | null
}

interface Head {
  readonly ref?: readonly Term[]
  readonly name?: string
  /** Present on functions. */
  readonly args?: unknown
}

/** Rules that an entrypoint may name; functions are left out. A rule whose name has a variable part ends before it. */
export function rulePaths(module: unknown): string[] {
  const { package: pkg, rules } = (module ?? {}) as Module
  const base = constants((pkg?.path ?? []).slice(1))
  const paths = (rules ?? [])
    .filter((rule) => rule.head?.args === undefined)
    .map((rule) => [...base, ...ruleName(rule.head)].join('/'))
  return [...new Set(paths)].sort()
}

function ruleName(head: Head | undefined): string[] {
  const [first, ...rest] = head?.ref ?? []
  if (first === undefined) return head?.name === undefined ? [] : [head.name]
  return [String(first.value), ...constants(rest)]
}

function constants(terms: readonly Term[]): string[] {
  const names: string[] = []
  for (const term of terms) {
    if (term.type !== 'string') break
    names.push(String(term.value))
  }
  return names
}
