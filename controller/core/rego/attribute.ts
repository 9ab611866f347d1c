/**
 * Compile problems on the user's objects. In: problems whose source is a module of a unit, and where each module
 * comes from. Out: problems that name object and field; line and column count in the module's text.
 * A version that doesn't fit is the policy's mistake alone, since a library is written in one of the two.
 */
import type { ObjectRef, Problem } from '../../../common/errors.ts'
import { VERSION_FIELD } from './opa-errors.ts'
import type { ModuleOrigin } from './unit.ts'

export interface ModulePlace {
  /** Line and column in the module's text, from 1. */
  readonly line: number
  readonly column: number
}

/** A compile problem as accept works with it. */
export interface RegoProblem {
  readonly problem: Problem
  /** Where in the module that `problem.object` and `problem.field` name; absent when OPA gave no place. */
  readonly place?: ModulePlace
}

/**
 * `policy` is the one whose unit it is. Every problem is the policy's; the syntax of a library is the library's too, and
 * comes first: with the library's last good version the policy may be right again.
 */
export function attributeProblems(
  policy: ObjectRef,
  problems: readonly Problem[],
  origins: ReadonlyMap<string, ModuleOrigin>,
): readonly RegoProblem[] {
  return problems.flatMap(({ source, ...problem }) => {
    const origin = source === undefined ? undefined : origins.get(source.file)
    if (source === undefined || origin === undefined) {
      return [{ problem: { ...problem, object: policy, field: fieldOf(problem, origins) } }]
    }
    const place = { line: source.line ?? 1, column: source.column ?? 1 }
    const at = (what: string) =>
      `${problem.message}, at line ${place.line}, column ${place.column} of ${what}`
    const ofOrigin = {
      problem: {
        ...problem,
        object: origin.object,
        field: origin.field,
        message: at('the module'),
      },
      place,
    }
    if (origin.object.kind === policy.kind) return [ofOrigin]
    const isVersion = problem.field === VERSION_FIELD
    const field = isVersion ? VERSION_FIELD : 'spec.rego.libraries'
    const ofPolicy = { problem: { ...problem, object: policy, field, message: at(source.file) } }
    const isLibrarys = problem.code === 'ERR_REGO_PARSE' && !isVersion
    return isLibrarys ? [ofOrigin, ofPolicy] : [ofPolicy]
  })
}

/** A policy whose modules all come from libraries has no `spec.rego.module` to point at. */
function fieldOf(problem: Problem, origins: ReadonlyMap<string, ModuleOrigin>): string {
  const hasOwn = [...origins.values()].some((o) => o.field === problem.field)
  return problem.field === 'spec.rego.module' && !hasOwn ? 'spec.rego.libraryRef' : problem.field
}
