/**
 * Numbers that JavaScript cannot hold exactly. An API server keeps 64-bit integers; here one would become its
 * neighbour, and a policy that compares it would decide for somebody else. So they are refused.
 */
import type { FieldPath } from './field-path.ts'
import { type Finding, isRecord } from './finding.ts'

export function findInexactNumbers(value: unknown, path: FieldPath): Finding[] {
  if (Array.isArray(value))
    return value.flatMap((item, i) => findInexactNumbers(item, [...path, i]))
  if (isRecord(value)) {
    return Object.entries(value).flatMap(([key, child]) =>
      findInexactNumbers(child, [...path, key]),
    )
  }
  if (typeof value !== 'number' || isExact(value)) return []
  return [
    {
      code: 'ERR_FIELD_VALUE',
      path,
      message: 'is a number that cannot be kept exactly',
      remedy: 'write it as a string, in quotes',
    },
  ]
}

function isExact(value: number): boolean {
  return Number.isSafeInteger(value) || (Number.isFinite(value) && !Number.isInteger(value))
}
