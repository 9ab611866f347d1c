/**
 * Random HTTP requests that look for a second reading: encoded dots, double slashes, odd hosts, repeated headers, odd bytes.
 */
import type { Random } from './random.ts'

/** Which client certificate is shown; `plaintext` and `anonymous` show none. */
export const PEERS = [
  'plaintext',
  'anonymous',
  'one',
  'two',
  'b-one',
  'alias',
  'foreign',
  'several',
  'no-uri',
] as const
export type Peer = (typeof PEERS)[number]

export interface RawRequest {
  readonly peer: Peer
  readonly sourceAddress: '127.0.0.1' | '127.0.0.2'
  readonly method: string
  /** As it stands in the request line. One character is one byte. */
  readonly path: string
  readonly host: string
  /** In order, repetitions included. One character is one byte. */
  readonly headers: readonly (readonly [string, string])[]
}

const PATHS = [
  '/',
  '/a',
  '/a/',
  '/a/b',
  '/a/b/c',
  '/a/x/b',
  '/admin',
  '/admin/x',
  '/x.css',
  '/a;x',
  '/a%3Bx',
  '/a%3bx/b',
  '/a:b@c',
  '/a%3Ab@c',
  '/a%3ab%40c',
  '/b',
]
const INSERTS = [
  '/',
  '//',
  '/../',
  '/./',
  '..',
  '%2e%2e/',
  '/..;/',
  '/.;x/',
  '/%2e%2E%3bx/',
  '/..%20/',
  '/..%09/',
  '/..%23',
  '/%20../',
  '/%09../',
  '/..%a0/',
  '/..%85',
  '/%C2%A0../',
  '/..%c2%85?q',
  '/%E2%80%A8%2e%2e/',
  '/+.%EF%BB%BF./',
  '/%20..%C3%A9/',
  '/.%E2%80%A6/',
  '/...;/',
  '/..a;/',
  '%2f',
  '%2F',
  '%5c',
  '\\',
  '%61',
  '%',
  '%zz',
  '%4',
  '%00',
  '%20',
  '%ff',
  '?',
  '?q=y',
  '?x=/admin',
  ';x',
  '%3Bx',
  '%3b',
  '%3A',
  ':b@c',
  '%3Ab%40c',
  '?q=%3Ab@c',
  '#f',
  '\xe9',
  '~',
  '+',
  '*',
]
const HOSTS = [
  'a.example.com',
  'A.Example.COM',
  'a.example.com:80',
  'a.example.com.',
  'a.example.com.:8443',
  'b.example.com',
  'a',
  'a.',
  'a..',
  'kilo',
  'KILO',
  'h',
  '[::1]:80',
  'u@a.example.com',
  'a:80:90',
  'a.example.com:80:80',
  'a:80:',
  'a:',
  '[::1]:80:80',
  '[::1]',
]
const VALUES = [
  'blue',
  'red',
  '',
  ',',
  'blue,red',
  'blue, red',
  'green,\t red',
  'blue,blunt',
  'true blue,glue',
  'red ,blue',
  'blue,',
  'bl\xff',
  'bl!',
  '\xffblue',
  'a b',
  '\xc3\xa9',
  'Blue',
  ' blue',
  'x,\xffue',
]
const COMMON = ['GET', 'GET', 'POST', 'HEAD', 'PUT', 'OPTIONS', 'PATCH', 'DELETE']
/** HTTP/1.1 refuses the last two itself; HTTP/2 carries them. */
const METHODS = [...COMMON, ...COMMON, 'post', 'QUERY']

export function randomRequest(random: Random): RawRequest {
  return {
    peer: random.pick([...PEERS, 'one', 'one', 'plaintext', 'b-one']),
    sourceAddress: random.pick(['127.0.0.1', '127.0.0.1', '127.0.0.2']),
    method: random.pick(METHODS),
    path: randomPath(random),
    host: random.pick([...HOSTS, 'a.example.com', 'h']),
    headers: Array.from({ length: random.below(4) }, () => [
      random.pick(['x-a', 'x-a', 'x-b', 'X-A']),
      random.pick([...VALUES, 'blue', 'red', 'blue, red']),
    ]),
  }
}

function randomPath(random: Random): string {
  const base = random.pick(PATHS)
  if (random.chance(0.45)) return random.chance(0.3) ? `${base}?q=y` : base
  const at = 1 + random.below(base.length)
  return base.slice(0, at) + random.pick(INSERTS) + base.slice(at)
}
