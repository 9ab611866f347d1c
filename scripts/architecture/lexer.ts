/**
 * TypeScript source without what is not code, for checks that must not be fooled by comments and strings.
 * In: source text. Out: the same text, of equal length and lines, with comments, string and template text and regular
 * expressions blanked; and the string literals with their places. (TypeScript 7 exports no parser.)
 */

export interface SourceText {
  /** Same length as the source; quotes stay, their content is blank. */
  readonly code: string
  /** Content of each '…' and "…" literal by the index of its opening quote. */
  readonly strings: ReadonlyMap<number, string>
}

interface State {
  readonly source: string
  /** UTF-16 units of the result. */
  readonly out: string[]
  readonly strings: Map<number, string>
  /** Depths of braces at which a template's `${` stands open. */
  readonly templates: number[]
  depth: number
}

/** Takes one token that starts at `i` and returns the index after it; undefined when it is of another kind. */
type Step = (state: State, i: number) => number | undefined

export function lex(source: string): SourceText {
  const state: State = {
    source,
    out: source.split(''),
    strings: new Map(),
    templates: [],
    depth: 0,
  }
  for (let i = 0; i < source.length; ) i = takeToken(state, i)
  return { code: state.out.join(''), strings: state.strings }
}

function takeToken(state: State, i: number): number {
  for (const step of STEPS) {
    const end = step(state, i)
    if (end !== undefined) return end
  }
  return i + 1
}

const comment: Step = (state, i) => {
  const match = matchAt(/\/\/[^\n]*|\/\*[\s\S]*?(?:\*\/|$)/y, state.source, i)
  if (match === undefined) return undefined
  return blank(state, i, i + match.length)
}

const string: Step = (state, i) => {
  // A line's end closes too: broken source must not swallow the file.
  const match = matchAt(/'(?:\\[\s\S]|[^'\\\n])*'?|"(?:\\[\s\S]|[^"\\\n])*"?/y, state.source, i)
  if (match === undefined) return undefined
  state.strings.set(i, match.slice(1, -1))
  blank(state, i + 1, i + match.length - 1)
  return i + match.length
}

const template: Step = (state, i) => {
  const resumes = state.source[i] === '}' && state.templates.at(-1) === state.depth
  if (state.source[i] !== '`' && !resumes) return undefined
  if (resumes) state.templates.pop()
  const text = matchAt(/(?:\\[\s\S]|(?!\$\{)[^`\\])*/y, state.source, i + 1) ?? ''
  const end = blank(state, i + 1, i + 1 + text.length)
  if (state.source[end] !== '$') return end + 1
  state.templates.push(state.depth)
  return end + 2
}

/** After one of these, `/` starts a regular expression; after anything else it divides. */
const BEFORE_REGEX =
  /(?:^|[({[,;=:!&|?+\-*%~^<>]|\b(?:return|typeof|case|of|in|do|else|yield|await))\s*$/

const regex: Step = (state, i) => {
  if (state.source[i] !== '/') return undefined
  if (!BEFORE_REGEX.test(state.out.slice(Math.max(0, i - 40), i).join(''))) return undefined
  const match = matchAt(/\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\[\n])+\//y, state.source, i)
  return match === undefined ? undefined : blank(state, i, i + match.length)
}

const brace: Step = (state, i) => {
  if (state.source[i] === '{') state.depth += 1
  if (state.source[i] === '}') state.depth -= 1
  return undefined
}

const STEPS: readonly Step[] = [comment, string, template, regex, brace]

function matchAt(pattern: RegExp, source: string, at: number): string | undefined {
  pattern.lastIndex = at
  return pattern.exec(source)?.[0]
}

function blank(state: State, from: number, to: number): number {
  for (let i = from; i < to; i++) if (state.out[i] !== '\n') state.out[i] = ' '
  return to
}
