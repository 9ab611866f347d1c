import t from 'tap'
import { parseMediaType } from '../../../../../sidecar/core/input/media-type.ts'

/** Answers of Go 1.26's mime.ParseMediaType. */
const good: readonly [string, string, Record<string, string>][] = [
  ['text/plain', 'text/plain', {}],
  [' TEXT/Plain ;', 'text/plain', {}],
  ['multipart/form-data; boundary=foo', 'multipart/form-data', { boundary: 'foo' }],
  ['form-data; name="a b"; FileName="x.txt"', 'form-data', { name: 'a b', filename: 'x.txt' }],
  ['form-data;name="a\\"b\\\\c"', 'form-data', { name: 'a"b\\c' }],
  ['form-data; filename="C:\\dev\\go.txt"', 'form-data', { filename: 'C:\\dev\\go.txt' }],
  ['a/b; x=1; x=1', 'a/b', { x: '1' }],
  ["a/b; n*=utf-8'en'%e2%82%ac", 'a/b', { n: '\xe2\x82\xac' }],
  ["a/b; n*=latin1'en'%e4", 'a/b', {}],
  ["a/b; n*0*=us-ascii''a%20; n*1=b; n*2*=%63", 'a/b', { n: 'a bc' }],
  ['a/b; n*1=b', 'a/b', {}],
]
for (const [text, type, parameters] of good)
  t.test(`${text} is read as Go reads it`, async (t) => {
    const got = parseMediaType(text)
    t.equal(got?.type, type)
    t.same(Object.fromEntries(got?.parameters ?? []), parameters)
  })

for (const text of [
  '',
  ';a=b',
  'a/',
  '/b',
  'a/b/c',
  'a b',
  'a/b; x',
  'a/b; x=',
  'a/b; =1',
  'a/b; x=1; x=2',
  'a/b; x="open',
  'a/b; x="a\nb"',
  'a/b; x=1 y=2',
  'a/b; ;',
])
  t.test(`${JSON.stringify(text)} is refused`, async (t) => {
    t.equal(parseMediaType(text), undefined)
  })
