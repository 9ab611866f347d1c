/**
 * Not computing again what can't have changed. Values are immutable here, so a function of the same inputs gives an
 * equal result, and the one from before may stand in for it: then what is made of it needn't be made anew either.
 * What is remembered lives as long as its first input (weakly held); there is nothing to clear, nothing to size.
 * Purity stays: who calls can't tell, except by identity and by the clock.
 */

/**
 * The last result for each key: given again while `inputs` are the same (Object.is; lists of them element by element),
 * else made by `compute`. Whatever else `compute` uses must not matter to the result.
 */
export function recall<K extends object, V>(): (
  key: K,
  inputs: readonly unknown[],
  compute: () => V,
) => V {
  const known = new WeakMap<K, { readonly inputs: readonly unknown[]; readonly value: V }>()
  return (key, inputs, compute) => {
    const last = known.get(key)
    if (last !== undefined && isSameList(last.inputs, inputs)) return last.value
    const value = compute()
    known.set(key, { inputs, value })
    return value
  }
}

/** `compute`, which is not run again for a key (its first argument) as long as its other arguments are the same. */
export function remember<K extends object, R extends readonly unknown[], V>(
  compute: (key: K, ...rest: R) => V,
): (key: K, ...rest: R) => V {
  const last = recall<K, V>()
  return (key, ...rest) => last(key, rest, () => compute(key, ...rest))
}

/**
 * As `remember`, for a function that asks for what else it needs: its result stands as long as every question that it
 * asked has the same answer.
 */
export function rememberAsked<K extends object, Q, A, V>(
  compute: (key: K, ask: (question: Q) => A) => V,
): (key: K, ask: (question: Q) => A) => V {
  const known = new WeakMap<
    K,
    { readonly answers: readonly (readonly [Q, A])[]; readonly value: V }
  >()
  return (key, ask) => {
    const last = known.get(key)
    if (last?.answers.every(([question, answer]) => Object.is(ask(question), answer)))
      return last.value
    const answers: (readonly [Q, A])[] = []
    const value = compute(key, (question) => {
      const answer = ask(question)
      answers.push([question, answer])
      return answer
    })
    known.set(key, { answers, value })
    return value
  }
}

/**
 * Gives the value that the owner had before, when the next one is equal to it: so that a result which was computed
 * anew, and came out the same, changes nothing further on. Parts that are equal are shared either way.
 */
export function keepEqual<K extends object, V>(): (owner: K, next: V) => V {
  const known = new WeakMap<K, V>()
  return (owner, next) => {
    const before = known.get(owner)
    const kept = known.has(owner) ? (shareEqual(before, next) as V) : next
    known.set(owner, kept)
    return kept
  }
}

/**
 * `next`, or `before` when they are equal. Else, of a plain object or list, a copy of `next` with those fields and
 * elements from before that are equal, also elements of lists in it; objects further down stay as they are in `next`,
 * since others may hold the same.
 */
export function shareEqual(before: unknown, next: unknown): unknown {
  // Most are equal: nothing is made to find that out.
  if (isEqual(before, next)) return before
  if (Array.isArray(before) && Array.isArray(next)) return shareElements(before, next)
  if (!isPlain(before) || !isPlain(next)) return next
  const share = (old: unknown, value: unknown) => {
    if (isEqual(old, value)) return old
    return Array.isArray(old) && Array.isArray(value) ? shareElements(old, value) : value
  }
  // fromEntries defines properties: a key named __proto__ stays data.
  return Object.fromEntries(
    Object.entries(next).map(([key, value]) => [
      key,
      Object.hasOwn(before, key) ? share(before[key], value) : value,
    ]),
  )
}

function shareElements(before: readonly unknown[], next: readonly unknown[]): readonly unknown[] {
  return next.map((value, i) => (isEqual(before[i], value) ? before[i] : value))
}

/** Equal as JSON would see it, but for the order of keys; other objects are equal only to themselves. */
function isEqual(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true
  if (Array.isArray(a) && Array.isArray(b)) return isEqualList(a, b)
  if (!isPlain(a) || !isPlain(b)) return false
  let keys = 0
  for (const key in a) {
    if (!Object.hasOwn(b, key) || !isEqual(a[key], b[key])) return false
    keys += 1
  }
  return keys === Object.keys(b).length
}

function isEqualList(a: readonly unknown[], b: readonly unknown[]): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (!isEqual(a[i], b[i])) return false
  return true
}

type Plain = Readonly<Record<string, unknown>>

function isPlain(value: unknown): value is Plain {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

function isSame(a: unknown, b: unknown): boolean {
  return Object.is(a, b) || (Array.isArray(a) && Array.isArray(b) && isSameList(a, b))
}

/** Elements of lists in lists too: `rest` may hold lists. */
function isSameList(a: readonly unknown[], b: readonly unknown[]): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (!isSame(a[i], b[i])) return false
  return true
}

/** One object for all that have the same name, as long as anyone holds it. `nameOf` tells all that they are. */
export function internBy<V extends object>(nameOf: (value: V) => string): (value: V) => V {
  const known = new Map<string, WeakRef<V>>()
  const registry = new FinalizationRegistry<string>((name) => {
    if (known.get(name)?.deref() === undefined) known.delete(name)
  })
  return (value) => {
    const name = nameOf(value)
    const first = known.get(name)?.deref()
    if (first !== undefined) return first
    known.set(name, new WeakRef(value))
    registry.register(value, name)
    return value
  }
}
