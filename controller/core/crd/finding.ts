/**
 * A mistake in one object, before it is known where the object stands in the user's files.
 */
import type { ProblemCode } from '../../../common/errors.ts'
import type { FieldPath } from './field-path.ts'

export interface Finding {
  readonly code: ProblemCode
  readonly path: FieldPath
  /** Lower case, no period, no secrets. */
  readonly message: string
  /** What to do, as an imperative sentence in lower case. */
  readonly remedy: string
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** What JSON would call the type of a value. */
export function typeName(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'an object'
  if (typeof value === 'number') return Number.isInteger(value) ? 'an integer' : 'a number'
  return `a ${typeof value}`
}
