/**
 * Rego values as OPA's WASM prints them (`opa_value_dump`): JSON, and what JSON hasn't: sets, and keys that are no strings.
 * In: that text. Out: JSON values, where a set is a RegoSet, an object with other keys a RegoObject, and a number whose
 * text JavaScript would print otherwise (`1.0`, `1e3`) a RegoNumber: a builtin that does not know them refuses them.
 */

export class RegoSet {
  /** In Rego's order. */
  readonly items: readonly unknown[]

  constructor(items: readonly unknown[]) {
    this.items = items.toSorted(compareRego)
  }
}

export class RegoObject {
  readonly entries: readonly (readonly [unknown, unknown])[]

  constructor(entries: readonly (readonly [unknown, unknown])[]) {
    this.entries = entries
  }
}

export class RegoNumber {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }
}

const TOKEN =
  /\s*(?:("[^"\\]*(?:\\.[^"\\]*)*")|(-?\d[\d.eE+-]*)|(set\(\)|true|false|null|[[\]{},:]))/y

/** Throws a RangeError when the text is no value. */
export function parseRego(text: string): unknown {
  // Most operands are one string, and some of these are long.
  if (text.startsWith('"')) return JSON.parse(text)
  const tokens = new Tokens(text)
  const value = readValue(tokens)
  if (tokens.next() !== undefined) throw new RangeError('more than one Rego value')
  return value
}

class Tokens {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  next(): string | undefined {
    TOKEN.lastIndex = this.#at
    const match = TOKEN.exec(this.#text)
    if (match === null) {
      if (this.#text.slice(this.#at).trim() === '') return undefined
      throw new RangeError('not a Rego value')
    }
    this.#at = TOKEN.lastIndex
    return match[1] ?? match[2] ?? match[3]
  }
}

function readValue(tokens: Tokens, first = tokens.next()): unknown {
  switch (first) {
    case undefined:
      throw new RangeError('a Rego value ends early')
    case 'set()':
      return new RegoSet([])
    case '[':
      return readItems(tokens, ']').map(([item]) => item)
    case '{':
      return readBraces(tokens)
    default:
      if (/^[-\d]/.test(first)) return toNumber(first)
      return JSON.parse(first)
  }
}

/** `{}` is an object: the empty set has a name of its own. */
function readBraces(tokens: Tokens): unknown {
  const items = readItems(tokens, '}')
  if (items.length > 0 && items.every((item) => item.length === 1))
    return new RegoSet(items.map(([item]) => item))
  if (!items.every((item) => item.length === 2)) throw new RangeError('neither set nor object')
  const entries = items.map(([key, value]) => [key, value] as const)
  return entries.every(([key]) => typeof key === 'string')
    ? Object.fromEntries(entries as [string, unknown][])
    : new RegoObject(entries)
}

/** Each with its value when it has one. */
function readItems(tokens: Tokens, end: ']' | '}'): unknown[][] {
  const items: unknown[][] = []
  let token = tokens.next()
  while (token !== end) {
    const item = [readValue(tokens, token)]
    token = tokens.next()
    if (token === ':' && end === '}') {
      item.push(readValue(tokens))
      token = tokens.next()
    }
    items.push(item)
    if (token === ',') token = tokens.next()
    else if (token !== end) throw new RangeError('not a Rego value')
  }
  return items
}

function toNumber(text: string): number | bigint | RegoNumber {
  const number = Number(text)
  if (Number.isNaN(number)) throw new RangeError('not a number')
  if (/^-?\d+$/.test(text)) {
    const integer = BigInt(text)
    if (integer.toString() !== text) return new RegoNumber(text)
    return Number.isSafeInteger(number) ? number : integer
  }
  return String(number) === text ? number : new RegoNumber(text)
}

/** Null, booleans, numbers, strings, arrays, objects, sets; within a kind by value. Source: OPA ast.Compare. */
export function compareRego(a: unknown, b: unknown): number {
  const [kindA, kindB] = [kindOf(a), kindOf(b)]
  if (kindA !== kindB) return kindA - kindB
  if (typeof a === 'string' && typeof b === 'string') return compareText(a, b)
  if (typeof a === 'boolean') return Number(a) - Number(b)
  if (kindA === NUMBER) return compareNumbers(a, b)
  if (kindA === NULL) return 0
  const [listA, listB] = [partsOf(a), partsOf(b)]
  for (let i = 0; i < Math.min(listA.length, listB.length); i++) {
    const order = compareRego(listA[i], listB[i])
    if (order !== 0) return order
  }
  return listA.length - listB.length
}

const [NULL, NUMBER, STRING, ARRAY, OBJECT, SET] = [0, 2, 3, 4, 5, 6]

function kindOf(value: unknown): number {
  if (value === null) return NULL
  if (typeof value === 'boolean') return 1
  if (typeof value === 'string') return STRING
  if (Array.isArray(value)) return ARRAY
  if (value instanceof RegoSet) return SET
  return typeof value !== 'object' || value instanceof RegoNumber ? NUMBER : OBJECT
}

function compareNumbers(a: unknown, b: unknown): number {
  if (a instanceof RegoNumber || b instanceof RegoNumber)
    return (
      Number(a instanceof RegoNumber ? a.text : a) - Number(b instanceof RegoNumber ? b.text : b)
    )
  const [left, right] = [a as number | bigint, b as number | bigint]
  return left < right ? -1 : Number(left > right)
}

/** By bytes, as Go compares; UTF-16 has another order. */
function compareText(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}

function partsOf(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value
  return value instanceof RegoSet ? value.items : entriesOf(value as object).flat()
}

/** Of an object of either kind, by key in Rego's order. */
export function entriesOf(value: object): readonly (readonly [unknown, unknown])[] {
  const entries = value instanceof RegoObject ? value.entries : Object.entries(value)
  return entries.toSorted(([a], [b]) => compareRego(a, b))
}
