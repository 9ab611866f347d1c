/** An exit code that says how the answer was, after the answer was printed: no error. */
export class ExitWith extends Error {
  readonly exitCode: number

  constructor(exitCode: number) {
    super(`exit ${exitCode}`)
    this.exitCode = exitCode
  }
}

/** The request would be, or was, denied. Not 1 and not 2, so that no mistake is taken for a denial. */
export const DENIED = 3
