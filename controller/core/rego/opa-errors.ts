/**
 * OPA's error output as Problems. In: what `opa check --format json` or `opa build` printed. Out: Problems whose
 * source is a module of the unit (its name, line, column); `attribute.ts` maps them to the user's object.
 * Source: OPA 1.22 `ast.Error` JSON; `opa build` has text only.
 */
import type { Problem, ProblemCode } from '../../../common/errors.ts'
import { UNAVAILABLE_BUILTINS } from './capabilities.ts'

/** Fields of a problem that compilation found; attribution replaces them by the path in the user's object. */
const FIELD = 'spec.rego.module'
export const VERSION_FIELD = 'spec.rego.regoVersion'
const MAX_PROBLEMS = 10
const MAX_MESSAGE = 500

export interface OpaErrorContext {
  /** Name in the unit for each file name that OPA was given. */
  readonly moduleNames: ReadonlyMap<string, string>
  /** The modules are fine in this other version: the one thing wrong is `regoVersion`. */
  readonly parsesAs?: 'V0' | 'V1' | undefined
}

/** Problems in the order that OPA gives them, ten at most. Output of another form becomes one ERR_REGO_COMPILE. */
export function problemsFromCheck(output: string, context: OpaErrorContext): readonly Problem[] {
  const errors = parseErrors(output)
  if (errors === undefined || errors.length === 0) {
    return [textProblem('ERR_REGO_COMPILE', output, 'correct the module')]
  }
  return errors.slice(0, MAX_PROBLEMS).map((error) => toProblem(error, context))
}

/** The problem that `opa build` reports by text, after `opa check` was content. */
export function problemFromBuild(output: string, entrypoint: string, rules: string[]): Problem {
  if (
    /^(?:error: )?entrypoint ".*" does not refer to a rule|used as reference, not called/m.test(
      output,
    )
  ) {
    return entrypointProblem(entrypoint, rules)
  }
  return textProblem(
    'ERR_REGO_COMPILE',
    output,
    'change the module so that OPA compiles it to WASM',
  )
}

/** `rules` are the rules that exist, as slash paths. */
export function entrypointProblem(entrypoint: string, rules: readonly string[]): Problem {
  const shown = rules.slice(0, MAX_PROBLEMS).join(', ')
  return {
    code: 'ERR_REGO_ENTRYPOINT',
    field: 'spec.rego.entrypoint',
    message: `no rule is named ${entrypoint}; the modules have ${shown === '' ? 'no rule' : shown}`,
    remedy: 'set spec.rego.entrypoint to a rule that exists, or name the package and the rule so',
  }
}

interface OpaError {
  readonly message: string
  readonly code: string
  readonly file: string | undefined
  readonly row: number
  readonly col: number
}

function toProblem(error: OpaError, context: OpaErrorContext): Problem {
  const isParse = error.code === 'rego_parse_error'
  const base = {
    code: (isParse ? 'ERR_REGO_PARSE' : 'ERR_REGO_COMPILE') as ProblemCode,
    field: isParse && context.parsesAs !== undefined ? VERSION_FIELD : FIELD,
    message: clean(error.message),
    remedy: remedyFor(error, isParse, context),
  }
  if (error.file === undefined) return base
  const file = context.moduleNames.get(error.file) ?? error.file
  return { ...base, source: { file, line: Math.max(1, error.row), column: Math.max(1, error.col) } }
}

function remedyFor(error: OpaError, isParse: boolean, context: OpaErrorContext): string {
  if (isParse && context.parsesAs === 'V0') {
    return 'set spec.rego.regoVersion to V0, or write the module in Rego V1 (with `if` and `contains`)'
  }
  if (isParse && context.parsesAs === 'V1') return 'set spec.rego.regoVersion to V1'
  const name = /^undefined function (\S+)$/.exec(error.message)?.[1]
  if (name !== undefined && UNAVAILABLE_BUILTINS.has(name)) {
    return `remove the call: the built-in ${name} is not available in a policy`
  }
  return isParse ? 'correct the syntax at this place' : 'correct the module at this place'
}

function textProblem(code: ProblemCode, output: string, remedy: string): Problem {
  const text = clean(output.replace(/^error: /, ''))
  return { code, field: FIELD, message: text === '' ? 'opa gave no reason' : text, remedy }
}

/** One line of bounded length without control characters. */
function clean(text: string): string {
  const line = text.replace(/[\s\p{Cc}]+/gu, ' ').trim()
  return line.length > MAX_MESSAGE ? `${line.slice(0, MAX_MESSAGE)}…` : line
}

function parseErrors(output: string): OpaError[] | undefined {
  let parsed: { errors?: unknown }
  try {
    parsed = JSON.parse(output)
  } catch {
    return undefined
  }
  if (!Array.isArray(parsed?.errors)) return undefined
  return parsed.errors.map((e) => ({
    message: String(e?.message ?? ''),
    code: String(e?.code ?? ''),
    file: typeof e?.location?.file === 'string' ? e.location.file : undefined,
    row: Number(e?.location?.row ?? 1),
    col: Number(e?.location?.col ?? 1),
  }))
}
