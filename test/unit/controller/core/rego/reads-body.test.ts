import t from 'tap'
import { readsBody } from '../../../../../controller/core/rego/reads-body.ts'

const v = (value: string) => ({ type: 'var', value })
const s = (value: string) => ({ type: 'string', value })
const ref = (...terms: unknown[]) => ({ type: 'ref', value: terms })
const input = (...path: string[]) => ref(v('input'), ...path.map(s))
const moduleOf = (term: unknown, imports?: unknown) => ({
  package: { path: [v('data'), s('p')] },
  ...(imports === undefined ? {} : { imports }),
  rules: [{ head: { name: 'allow' }, body: [{ index: 0, terms: [ref(v('f')), term] }] }],
})

t.test('a constant path beside the body does not read it', async (t) => {
  t.equal(readsBody(moduleOf(input('attributes', 'request', 'http', 'method'))), false)
  t.equal(readsBody(moduleOf(input('attributes', 'source', 'principal'))), false)
  t.equal(readsBody(moduleOf(input('parsed_path'))), false)
  t.equal(readsBody(moduleOf(ref(v('data'), s('body')))), false)
})

t.test('the body, and what holds it, counts', async (t) => {
  t.equal(readsBody(moduleOf(input('parsed_body'))), true)
  t.equal(readsBody(moduleOf(input('parsed_body', 'amount'))), true)
  t.equal(readsBody(moduleOf(input('truncated_body'))), true)
  t.equal(readsBody(moduleOf(input('attributes', 'request', 'http', 'body'))), true)
  t.equal(readsBody(moduleOf(input('attributes', 'request', 'http', 'raw_body'))), true)
  t.equal(
    readsBody(moduleOf(input('attributes', 'request', 'http', 'rawBody'))),
    true,
    'its name in JSON',
  )
  t.equal(readsBody(moduleOf(input('attributes', 'request', 'http'))), true)
  t.equal(readsBody(moduleOf(input('attributes', 'request'))), true)
  t.equal(readsBody(moduleOf(input('attributes'))), true)
  t.equal(readsBody(moduleOf(input())), true)
  t.equal(readsBody(moduleOf(v('input'))), true)
})

t.test('a path with a variable part counts from there on', async (t) => {
  t.equal(readsBody(moduleOf(ref(v('input'), v('k')))), true)
  t.equal(
    readsBody(moduleOf(ref(v('input'), s('attributes'), s('request'), s('http'), v('k')))),
    true,
  )
  t.equal(readsBody(moduleOf(ref(v('input'), s('parsed_query'), v('k')))), false)
  t.equal(
    readsBody(moduleOf(ref(v('data'), input('parsed_body')))),
    true,
    'a reference inside a reference',
  )
})

t.test('imports are followed by their name', async (t) => {
  const http = { path: input('attributes', 'request', 'http'), alias: 'req' }
  t.equal(readsBody(moduleOf(ref(v('req'), s('method')), [http])), false)
  t.equal(readsBody(moduleOf(ref(v('req'), s('body')), [http])), true)
  t.equal(readsBody(moduleOf(v('req'), [http])), true)
  const unnamed = { path: input('attributes', 'request', 'http') }
  t.equal(readsBody(moduleOf(ref(v('http'), s('raw_body')), [unnamed])), true)
  t.equal(readsBody(moduleOf(v('x'), [{ path: v('input'), alias: 'x' }])), true)
  t.equal(readsBody(moduleOf(v('x'), [{ path: ref(v('data'), s('lib')) }])), false)
  t.equal(readsBody(moduleOf(v('x'), [{ path: ref(v('rego'), s('v1')) }])), false)
})

t.test('what is not understood counts', async (t) => {
  t.equal(readsBody(null), true)
  t.equal(readsBody('text'), true)
  t.equal(readsBody(moduleOf(v('x'), 'imports')), true)
  t.equal(readsBody(moduleOf(v('x'), [{}])), true)
  t.equal(readsBody(moduleOf(v('x'), [{ path: ref(v('input'), v('k')) }])), true)
})

t.test('comments and annotations are no code', async (t) => {
  t.equal(readsBody({ ...moduleOf(v('x')), comments: [v('input')] }), false)
})
