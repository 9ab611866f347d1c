/** Says each problem once when it appears and once when it ends, naming file, object, field and remedy. */
import { formatProblem, formatRef, type Problem } from '../../common/errors.ts'
import type { Log } from './ports.ts'

export class ProblemLog {
  readonly #log: Log
  #known: ReadonlyMap<string, Problem> = new Map()

  constructor(log: Log) {
    this.#log = log
  }

  /** `problems` are all that there are now. */
  update(problems: readonly Problem[]): void {
    const now = new Map(problems.map((p) => [formatProblem(p), p]))
    for (const [text, problem] of now) {
      if (!this.#known.has(text)) this.#log.warn(fieldsOf(problem), 'problem in the manifests')
    }
    for (const [text, problem] of this.#known) {
      if (!now.has(text)) this.#log.info(fieldsOf(problem), 'problem in the manifests ended')
    }
    this.#known = now
  }
}

function fieldsOf(problem: Problem): object {
  const { code, field, message, remedy, source } = problem
  return {
    code,
    ...source,
    ...(problem.object === undefined ? {} : { object: formatRef(problem.object) }),
    field,
    reason: message,
    remedy,
  }
}
