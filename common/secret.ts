/**
 * A value that must not be printed: keys, tokens, passwords.
 * Every string-ish path yields `[redacted]`; only `reveal()` gives the value.
 */
const INSPECT = Symbol.for('nodejs.util.inspect.custom')

export class Secret<T> {
  readonly #value: T

  constructor(value: T) {
    this.#value = value
  }

  reveal(): T {
    return this.#value
  }

  toString(): string {
    return '[redacted]'
  }

  toJSON(): string {
    return '[redacted]'
  }

  [INSPECT](): string {
    return '[redacted]'
  }
}
