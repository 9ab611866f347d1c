/**
 * Compile problems on the user's objects. In: problems whose source is a module of a unit, and where each module
 * comes from. Out: problems that name object and field; line and column count in the module's text.
 * What a library alone can be blamed for (its syntax) is the library's; everything else is the policy's.
 */
import type { ObjectRef, Problem } from '../../../common/errors.ts'
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

/** `policy` is the one whose unit it is. */
export function attributeProblems(
  policy: ObjectRef,
  problems: readonly Problem[],
  origins: ReadonlyMap<string, ModuleOrigin>,
): readonly RegoProblem[] {
  return problems.map((found) => {
    const { source, ...problem } = found
    const origin = source === undefined ? undefined : origins.get(source.file)
    if (source === undefined || origin === undefined) {
      return { problem: { ...problem, object: policy, field: fieldOf(problem, origins) } }
    }
    const place = { line: source.line ?? 1, column: source.column ?? 1 }
    const message = `${problem.message}, at line ${place.line}, column ${place.column} of the module`
    const isOwn = origin.object.kind === policy.kind
    if (isOwn || problem.code === 'ERR_REGO_PARSE') {
      return { problem: { ...problem, object: origin.object, field: origin.field, message }, place }
    }
    return {
      problem: {
        ...problem,
        object: policy,
        field: 'spec.rego.libraries',
        message: `${problem.message}, at line ${place.line}, column ${place.column} of ${source.file}`,
      },
    }
  })
}

/** A policy whose modules all come from libraries has no `spec.rego.module` to point at. */
function fieldOf(problem: Problem, origins: ReadonlyMap<string, ModuleOrigin>): string {
  const hasOwn = [...origins.values()].some((o) => o.field === problem.field)
  return problem.field === 'spec.rego.module' && !hasOwn ? 'spec.rego.libraryRef' : problem.field
}
