/**
 * A set of names as a value: `with` and `without` give another one and cost the same however many names there are, as
 * long as only the newest is changed. A client may name thousands, and change one of them with each request.
 * The newest has the set itself, an older one what undoes the step to the next (Baker's trick). All that are empty are
 * one: a controller has twelve of them for each proxy.
 */
export class Names implements Iterable<string> {
  #set: Set<string> | undefined
  #next: Names | undefined
  #undo: { readonly name: string; readonly isIn: boolean } | undefined

  private constructor(set: Set<string>) {
    this.#set = set
  }

  static of(names: Iterable<string>): Names {
    const set = new Set(names)
    if (set.size > 0) return new Names(set)
    empty ??= new Names(set)
    return empty
  }

  get size(): number {
    return this.#own().size
  }

  has(name: string): boolean {
    return this.#own().has(name)
  }

  with(name: string): Names {
    return this.has(name) ? this : this.#step(name, true)
  }

  without(name: string): Names {
    return this.has(name) ? this.#step(name, false) : this
  }

  filter(keep: (name: string) => boolean): Names {
    return Names.of([...this].filter(keep))
  }

  [Symbol.iterator](): Iterator<string> {
    return this.#own()[Symbol.iterator]()
  }

  #step(name: string, isIn: boolean): Names {
    const set = this.#own()
    if (set.size === 0) return Names.of([name])
    if (!isIn && set.size === 1) return Names.of([])
    if (isIn) set.add(name)
    else set.delete(name)
    const next = new Names(set)
    this.#set = undefined
    this.#next = next
    this.#undo = { name, isIn: !isIn }
    return next
  }

  /** The set; an older value takes a copy of the newest one and undoes what came since. */
  #own(): Set<string> {
    if (this.#set !== undefined) return this.#set
    const undo: { readonly name: string; readonly isIn: boolean }[] = []
    let at: Names = this
    while (at.#next !== undefined && at.#undo !== undefined) {
      undo.push(at.#undo)
      at = at.#next
    }
    const set = new Set(at.#set)
    for (const { name, isIn } of undo.reverse()) {
      if (isIn) set.add(name)
      else set.delete(name)
    }
    this.#set = set
    this.#next = undefined
    this.#undo = undefined
    return set
  }
}

let empty: Names | undefined
