/**
 * The guards that stand first in every tree (LOWERING, verdict 6): the mirror of common/authz/guards.ts.
 * In: the chain. Out: entries that deny what two readers could read differently.
 */
import {
  DOT_GUARD_PATTERN,
  GUARD_HOST,
  GUARD_IDENTITY,
  GUARD_METHOD,
  GUARD_PATH,
  GUARD_SAN,
  HOST_GUARD_PATTERN,
  METHOD_GUARD_PATTERN,
  PATH_GUARD_PATTERN,
} from '../../../common/authz/guards.ts'
import { all, any, HOST, METHOD, not, PATH, text, URI_SAN } from './predicate.ts'
import type { Chain } from './rule.ts'
import { action, type Entry } from './to-matcher.ts'

const SOMETHING = '(?s).+'

const path = any([
  not(text(PATH, 'regex', PATH_GUARD_PATTERN)),
  text(PATH, 'regex', DOT_GUARD_PATTERN),
])
const host = not(text(HOST, 'regex', HOST_GUARD_PATTERN))
const method = not(text(METHOD, 'regex', METHOD_GUARD_PATTERN))
const hasCertificate = any([
  text(URI_SAN, 'regex', SOMETHING),
  text({ kind: 'dnsSan' }, 'regex', SOMETHING),
  text({ kind: 'subject' }, 'regex', SOMETHING),
])
// Several URI SANs come joined by commas.
const san = text(URI_SAN, 'contains', ',')
const identity = all([not(text(URI_SAN, 'prefix', 'spiffe://')), hasCertificate])

const HTTP_GUARDS: readonly Entry[] = [
  { predicate: path, onMatch: action(GUARD_PATH, 'DENY') },
  { predicate: host, onMatch: action(GUARD_HOST, 'DENY') },
  { predicate: method, onMatch: action(GUARD_METHOD, 'DENY') },
]
const TLS_GUARDS: readonly Entry[] = [
  { predicate: san, onMatch: action(GUARD_SAN, 'DENY') },
  { predicate: identity, onMatch: action(GUARD_IDENTITY, 'DENY') },
]

export function buildGuards(chain: Chain): readonly Entry[] {
  return [
    ...(chain.protocol === 'http' ? HTTP_GUARDS : []),
    ...(chain.transport === 'tls' ? TLS_GUARDS : []),
  ]
}
