import t from 'tap'
import { formatDescription } from '../../../cli/describe.ts'

t.test('shows spec, conditions and what to do about each problem', async (t) => {
  const text = formatDescription(
    {
      apiVersion: 'postern.dev/v1alpha1',
      kind: 'AuthorizationPolicy',
      metadata: { name: 'p', namespace: 'shop', generation: 2 },
      spec: { rego: { module: 'package a\n\nallow if true\n' } },
      status: {
        observedGeneration: 2,
        conditions: [{ type: 'Accepted', status: 'False', reason: 'ERR_REGO_PARSE', message: 'm' }],
      },
    },
    [
      {
        code: 'ERR_REGO_PARSE',
        field: 'spec.rego.module',
        message: 'unexpected eof',
        remedy: 'close the brace',
        source: { file: 'a.yaml', line: 9, column: 3 },
      },
    ],
  )
  t.match(text, /Generation: +2, observed 2/)
  t.match(text, /module: \|\n +package a\n/, 'Rego stays readable')
  t.match(text, /Accepted +False +ERR_REGO_PARSE/)
  t.match(
    text,
    /a\.yaml:9:3: spec\.rego\.module: unexpected eof; close the brace \[ERR_REGO_PARSE\]/,
  )
})

t.test('a proxy cannot write lines of its own into conditions and problems', async (t) => {
  const words = 'no\n  Accepted   True   Accepted   all is well\x1b[8m'
  const text = formatDescription(
    {
      apiVersion: 'postern.dev/v1alpha1',
      kind: 'WorkloadEntry',
      metadata: { name: 'p', namespace: 'shop' },
      status: { conditions: [{ type: 'Programmed', status: 'False', message: words }] },
    },
    [{ code: 'ERR_PROXY_NACK', field: '', message: words, remedy: 'mend it' }],
  )
  t.notMatch(text, /^ +Accepted/m)
  t.notMatch(text, '\x1b')
})
