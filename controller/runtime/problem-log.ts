/** Says each problem once when it appears and once when it ends, naming file, object, field and remedy. */
import { formatRef, type Problem } from '../../common/errors.ts'
import type { Log } from './ports.ts'

export class ProblemLog {
  readonly #log: Log
  #known: ReadonlyMap<string, Problem> = new Map()

  constructor(log: Log) {
    this.#log = log
  }

  /** `problems` are all that there are now. */
  update(problems: readonly Problem[]): void {
    const now = new Map(problems.map((p) => [keyOf(p), p]))
    for (const [key, problem] of now) {
      if (!this.#known.has(key)) this.#log.warn(fieldsOf(problem), 'problem in the manifests')
    }
    for (const [key, problem] of this.#known) {
      if (!now.has(key)) this.#log.info(fieldsOf(problem), 'problem in the manifests ended')
    }
    this.#known = now
  }
}

/** Lines move with every edit above; a problem that only moved is the same. */
function keyOf({ code, object, field, message, source }: Problem): string {
  const where = object === undefined ? `${source?.document}` : formatRef(object)
  return [code, source?.file, where, field, message].join('\0')
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
