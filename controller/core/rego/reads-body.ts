/**
 * Whether a Rego module may read the request's body: a static reading of OPA's syntax tree, true when in doubt.
 * In: what `opa parse --format json` prints. Out: one boolean. Wrongly true costs a buffered body; wrongly false
 * would hide the body from a policy that reads it, so every use that is not proven harmless counts.
 * Source: opa-envoy-plugin's input document (DESIGN §5), OPA AST JSON (v1/ast, `opa parse`).
 */

/** Paths below `input` whose value depends on the body. */
const BODY_PATHS: readonly (readonly string[])[] = [
  ['parsed_body'],
  ['truncated_body'],
  ['attributes', 'request', 'http', 'body'],
  ['attributes', 'request', 'http', 'raw_body'],
  ['attributes', 'request', 'http', 'rawBody'],
]

type Json = Readonly<Record<string, unknown>>

/** `module` is one parsed module. Imports of parts of `input` are followed by their alias. */
export function readsBody(module: unknown): boolean {
  if (!isObject(module)) return true
  const aliases = inputAliases(module.imports)
  if (aliases === undefined) return true
  // Imports only name things; all else (package, rules with heads, bodies, else branches) may read.
  return Object.entries(module).some(
    ([key, value]) => key !== 'imports' && key !== 'comments' && mayRead(value, aliases),
  )
}

/** Alias → path below `input`. Undefined when an import has a form that we don't know. */
function inputAliases(imports: unknown): ReadonlyMap<string, readonly string[]> | undefined {
  const aliases = new Map<string, readonly string[]>([['input', []]])
  for (const entry of asArray(imports ?? []) ?? [undefined]) {
    const terms = importPath(entry)
    if (terms === undefined) return undefined
    if (!isVar(terms[0], 'input')) continue
    const below = constantPrefix(terms.slice(1))
    if (below.length !== terms.length - 1) return undefined
    const alias = (entry as Json).alias
    aliases.set(typeof alias === 'string' ? alias : (below.at(-1) ?? 'input'), below)
  }
  return aliases
}

/** The terms of an import's path; one that is a bare variable has one. */
function importPath(entry: unknown): readonly unknown[] | undefined {
  const path = isObject(entry) ? entry.path : undefined
  if (!isObject(path)) return undefined
  return path.type === 'ref' ? asArray(path.value) : [path]
}

function mayRead(node: unknown, aliases: ReadonlyMap<string, readonly string[]>): boolean {
  if (Array.isArray(node)) return node.some((child) => mayRead(child, aliases))
  if (!isObject(node)) return false
  if (node.type === 'ref' && Array.isArray(node.value)) {
    const [head, ...rest] = node.value
    const base = isObject(head) && head.type === 'var' ? aliases.get(String(head.value)) : undefined
    if (base !== undefined && touchesBody([...base, ...constantPrefix(rest)])) return true
    // A head that is no alias may be a call or an expression; arguments may read on their own.
    return rest.some((t) => mayRead(t, aliases)) || (base === undefined && mayRead(head, aliases))
  }
  if (node.type === 'var') {
    const path = aliases.get(String(node.value))
    return path !== undefined && touchesBody(path)
  }
  return Object.values(node).some((child) => mayRead(child, aliases))
}

/** A path at or above a body path takes the body with it; one at or below reads it. */
function touchesBody(path: readonly string[]): boolean {
  return BODY_PATHS.some((body) => {
    const shared = Math.min(body.length, path.length)
    return body.slice(0, shared).every((part, i) => part === path[i])
  })
}

/** The leading constant text of a reference: `a.b[x].c` gives `a`, `b`. */
function constantPrefix(terms: readonly unknown[]): string[] {
  const prefix: string[] = []
  for (const term of terms) {
    if (!isObject(term) || term.type !== 'string' || typeof term.value !== 'string') break
    prefix.push(term.value)
  }
  return prefix
}

function asArray(value: unknown): readonly unknown[] | undefined {
  return Array.isArray(value) ? value : undefined
}

function isVar(term: unknown, name: string): boolean {
  return isObject(term) && term.type === 'var' && term.value === name
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
