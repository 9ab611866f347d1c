import t from 'tap'
import {
  problemFromBuild,
  problemsFromCheck,
} from '../../../../../controller/core/rego/opa-errors.ts'

const context = { moduleNames: new Map([['m.rego', 'policy.rego']]) }
const output = (message: string, code = 'rego_type_error') =>
  JSON.stringify({ errors: [{ message, code, location: { file: 'm.rego', row: 2, col: 12 } }] })

t.test('a parse error has its place and what to do', async (t) => {
  const [problem] = problemsFromCheck(output('unexpected eq', 'rego_parse_error'), context)
  t.match(problem, {
    code: 'ERR_REGO_PARSE',
    message: 'unexpected eq',
    remedy: /correct the syntax/,
    source: { file: 'policy.rego', line: 2, column: 12 },
  })
})

t.test('V0 syntax names regoVersion', async (t) => {
  const text = output('`if` keyword is required before rule body', 'rego_parse_error')
  const [problem] = problemsFromCheck(text, { ...context, parsesAs: 'V0' })
  t.match(problem, { field: 'spec.rego.regoVersion', remedy: /regoVersion to V0/ })
  const [other] = problemsFromCheck(text, { ...context, parsesAs: 'V1' })
  t.match(other, { field: 'spec.rego.regoVersion', remedy: /regoVersion to V1/ })
})

t.test('a built-in that is taken away is named so', async (t) => {
  const [taken] = problemsFromCheck(output('undefined function http.send'), context)
  t.match(taken, { code: 'ERR_REGO_COMPILE', remedy: /http\.send is not available/ })
  const [unknown] = problemsFromCheck(output('undefined function nope'), context)
  t.notMatch(unknown?.remedy, /not available/)
})

t.test(
  'an error without a place, and output that is no JSON, are problems all the same',
  async (t) => {
    const bare = JSON.stringify({ errors: [{ message: 'x', code: 'y' }] })
    t.equal(problemsFromCheck(bare, context)[0]?.source, undefined)
    t.match(problemsFromCheck('panic:\n\u0007boom', context), [
      { code: 'ERR_REGO_COMPILE', message: 'panic: boom' },
    ])
    t.match(problemsFromCheck('', context), [{ message: 'opa gave no reason' }])
    t.match(problemsFromCheck('{"errors":[]}', context), [{ code: 'ERR_REGO_COMPILE' }])
    t.equal(problemsFromCheck('x'.repeat(9999), context)[0]?.message.length, 501)
  },
)

t.test('at most ten are shown', async (t) => {
  const many = JSON.stringify({ errors: Array(30).fill({ message: 'm', code: 'rego_type_error' }) })
  t.equal(problemsFromCheck(many, context).length, 10)
})

t.test('build names a missing entrypoint with the rules that exist', async (t) => {
  const text = 'error: entrypoint "a/b" does not refer to a rule or policy decision\n'
  t.match(problemFromBuild(text, 'a/b', ['a/allow', 'a/deny']), {
    code: 'ERR_REGO_ENTRYPOINT',
    field: 'spec.rego.entrypoint',
    message: 'no rule is named a/b; the modules have a/allow, a/deny',
  })
  t.match(problemFromBuild(text, 'a/b', []).message, /have no rule/)
  t.match(
    problemFromBuild('error: 1 error occurred: data.a.f used as reference, not called', 'a/f', []),
    {
      code: 'ERR_REGO_ENTRYPOINT',
    },
  )
  t.match(problemFromBuild('error: something else', 'a/b', []).code, 'ERR_REGO_COMPILE')
})
