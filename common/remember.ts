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

/** `next`, or `before` when they are equal; of lists and plain objects, also in parts. */
export function shareEqual(before: unknown, next: unknown): unknown {
  if (Object.is(before, next)) return before
  if (Array.isArray(before) && Array.isArray(next)) return shareList(before, next)
  if (isPlain(before) && isPlain(next)) return sharePlain(before, next)
  return next
}

function shareList(before: readonly unknown[], next: readonly unknown[]): readonly unknown[] {
  const shared = next.map((value, i) => shareEqual(before[i], value))
  if (before.length === next.length && isSameList(before, shared)) return before
  return isSameList(next, shared) ? next : shared
}

function sharePlain(before: Plain, next: Plain): Plain {
  const shared: Record<string, unknown> = {}
  const keys = Object.keys(next)
  let [asBefore, asNext] = [keys.length === Object.keys(before).length, true]
  for (const key of keys) {
    const value = Object.hasOwn(before, key) ? shareEqual(before[key], next[key]) : next[key]
    asBefore &&= Object.hasOwn(before, key) && Object.is(before[key], value)
    asNext &&= Object.is(next[key], value)
    // Defined, not assigned: a key named __proto__ stays data.
    Object.defineProperty(shared, key, {
      value,
      enumerable: true,
      writable: true,
      configurable: true,
    })
  }
  if (asBefore) return before
  return asNext ? next : shared
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
  return a.length === b.length && a.every((value, i) => isSame(value, b[i]))
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
