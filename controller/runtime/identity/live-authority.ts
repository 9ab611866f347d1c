/**
 * An authority whose keys are shared, followed while it runs. What is stored and good takes effect; what isn't is told, and
 * the last good stays in force, in memory.
 *
 *   stored now                                  in force afterwards
 *   the same keys                               the same, with the roots that are stored beside them
 *   other keys, whose root was trusted before   those: the old root is still trusted, as long as it is stored
 *   nothing, garbage, any other authority       what was in force, and a trouble that says why
 *
 * It must never make keys, nor sign with keys whose root no proxy was told of.
 */
import { MeshError, type Problem } from '../../../common/errors.ts'
import { type Authority, lost, openAuthority } from './authority.ts'
import type { IdentityStore, Log } from './ports.ts'
import type { Records } from './records.ts'

/** Why what is stored isn't in force. */
export interface KeyTrouble {
  readonly code: Extract<Problem['code'], 'ERR_CA_LOST' | 'ERR_CA_DAMAGED'>
  readonly message: string
  readonly remedy: string
}

export interface LiveAuthority {
  /** The same object for ever: what is in force. */
  readonly authority: Authority
  trouble(): KeyTrouble | undefined
  /** Compares with what is stored. Rejects when the store doesn't answer: ask again. */
  look(): Promise<void>
}

export interface LiveAuthorityOptions {
  readonly first: Authority
  readonly open: Parameters<typeof openAuthority>[0]
  readonly records: Records
  readonly log: Log
  /** What is in force, its roots, or the trouble are others now. */
  readonly onChange: (what: 'keys' | 'trouble') => void
}

export function createLiveAuthority(options: LiveAuthorityOptions): LiveAuthority {
  const { open, records, log, onChange } = options
  let current = options.first
  let trouble: KeyTrouble | undefined
  const note = (next: KeyTrouble | undefined) => {
    if (next?.message === trouble?.message) return
    trouble = next
    if (next === undefined) log.warn({}, 'the stored keys of the authority are good again')
    else log.error({ ...next }, 'the stored keys of the authority are not those in force')
    onChange('trouble')
  }
  return {
    authority: delegateTo(() => current),
    trouble: () => trouble,
    async look() {
      try {
        const next = await openAuthority(open)
        checkSuccession(current, next, open.store)
        if (!isSameBundle(current, next)) {
          current = next
          log.warn({ roots: next.trustBundle.length }, 'the authority or its roots were changed')
          onChange('keys')
        }
        await records.refresh()
        note(undefined)
      } catch (error) {
        note(toTrouble(error, open.store))
      }
    },
  }
}

/** Rethrows what says nothing of the keys. `ERR_CA_NOT_READY`, an API server that is away: nothing is known. */
export function toTrouble(error: unknown, { place, remedy }: IdentityStore): KeyTrouble {
  if (!(error instanceof MeshError) || error.code !== 'ERR_STATE_CORRUPT') throw error
  const isLost = error.message === lost({ place, remedy }).message
  const [why = ''] = error.message.split(`; ${remedy}`)
  const code = isLost ? 'ERR_CA_LOST' : 'ERR_CA_DAMAGED'
  return { code, message: isLost ? why : `${place}: ${why}`, remedy }
}

function checkSuccession(current: Authority, next: Authority, store: IdentityStore): void {
  const has = (roots: readonly Uint8Array[], root: Uint8Array | undefined) =>
    roots.some((one) => isEqual(one, root))
  const [now] = current.trustBundle
  // What the old root signed is in use: it goes one step later.
  const isTrusted = has(current.trustBundle, next.trustBundle[0]) && has(next.trustBundle, now)
  const isSameAttestation = isEqual(current.attestationFingerprint, next.attestationFingerprint)
  if (isTrusted && isSameAttestation) return
  const what = isTrusted ? 'attestation key' : 'root'
  const message = `the ${what} in it is of another authority than the one in force, which stays; ${store.remedy}`
  throw new MeshError('ERR_STATE_CORRUPT', message)
}

function isSameBundle(a: Authority, b: Authority): boolean {
  return (
    a.trustBundle.length === b.trustBundle.length &&
    a.trustBundle.every((root, i) => isEqual(root, b.trustBundle[i]))
  )
}

function isEqual(a: Uint8Array, b: Uint8Array | undefined): boolean {
  return b !== undefined && Buffer.from(a).equals(b)
}

function delegateTo(current: () => Authority): Authority {
  return {
    get trustDomain() {
      return current().trustDomain
    },
    get trustBundle() {
      return current().trustBundle
    },
    get trustBundlePem() {
      return current().trustBundlePem
    },
    get rootPem() {
      return current().rootPem
    },
    get attestationFingerprint() {
      return current().attestationFingerprint
    },
    get rootFingerprint() {
      return current().rootFingerprint
    },
    get rootNotAfterMs() {
      return current().rootNotAfterMs
    },
    signSvid: (request) => current().signSvid(request),
    signServing: (request) => current().signServing(request),
    signCredential: (request) => current().signCredential(request),
    readCredential: (der) => current().readCredential(der),
  }
}
