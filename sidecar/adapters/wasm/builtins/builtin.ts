/**
 * What a host builtin of Rego is, and how it reads its operands.
 * A BuiltinError becomes *undefined* in the policy, as in OPA (unless strict); anything else that is thrown ends the
 * evaluation as an error. Builtins are synchronous and, within one evaluation, give equal answers to equal operands.
 */

import { RegoNumber, RegoObject, RegoSet } from '../rego-value.ts'

export interface BuiltinContext {
  /** The one instant of this evaluation, epoch nanoseconds. */
  readonly nowNs: bigint
}

/** Operands are as `parseRego` gives them: sets are no arrays. Undefined: no result. */
export type Builtin = (context: BuiltinContext, ...operands: readonly unknown[]) => unknown

export type Builtins = ReadonlyMap<string, Builtin>

/** An operand or value that the builtin refuses: the call is undefined. */
export class BuiltinError extends Error {
  override readonly name = 'BuiltinError'
}

export function stringOperand(value: unknown): string {
  if (typeof value !== 'string') throw new BuiltinError('operand must be a string')
  return value
}

export function arrayOperand(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw new BuiltinError('operand must be an array')
  return value
}

export function objectOperand(value: unknown): Readonly<Record<string, unknown>> {
  if (value instanceof RegoObject)
    throw new RangeError('objects with keys that are no strings are not supported')
  const isOther = Array.isArray(value) || value instanceof RegoSet || value instanceof RegoNumber
  if (typeof value !== 'object' || value === null || isOther)
    throw new BuiltinError('operand must be an object')
  return value as Record<string, unknown>
}

/** Integers only; numbers with a fraction are refused. */
export function bigintOperand(value: unknown): bigint {
  if (typeof value === 'bigint') return value
  if (value instanceof RegoNumber) return bigintOperand(Number(value.text))
  if (typeof value !== 'number' || !Number.isSafeInteger(value))
    throw new BuiltinError('operand must be an integer')
  return BigInt(value)
}
