/** Nonces: ours, young, once; and no memory for those that nobody used. */
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { Secret } from '../../../../../common/secret.ts'
import { createAttempts } from '../../../../../controller/core/ca/attempts.ts'
import {
  createChallengeNonces,
  NONCE_LIFETIME_MS,
} from '../../../../../controller/core/ca/challenge.ts'

const make = () => createChallengeNonces(new Secret(randomBytes(32)))

t.test('a nonce is fresh for a minute and used once', async (t) => {
  const nonces = make()
  const nonce = nonces.create(randomBytes(8), 1000.5)
  t.equal(nonce.length, 32)
  t.ok(nonces.isFresh(nonce, 1000.5))
  t.ok(nonces.isFresh(nonce, 1000 + NONCE_LIFETIME_MS - 1))
  t.notOk(nonces.isFresh(nonce, 1000 + NONCE_LIFETIME_MS))
  t.ok(nonces.use(nonce, 1000))
  t.notOk(nonces.use(nonce, 1000))
})

t.test('a nonce of another process, or a changed one, is not ours', async (t) => {
  const nonces = make()
  t.notOk(nonces.isFresh(make().create(randomBytes(8), 0), 0))
  const nonce = nonces.create(randomBytes(8), 0)
  for (let i = 0; i < nonce.length; i++) {
    const changed = Uint8Array.from(nonce)
    changed[i] = (changed[i] ?? 0) ^ 1
    t.notOk(nonces.isFresh(changed, 0), `byte ${i}`)
  }
  t.notOk(nonces.isFresh(nonce.subarray(1), 0))
})

t.test('remembers a bounded number of used ones, and forgets old ones', async (t) => {
  const nonces = make()
  for (let i = 0; i < 10_000; i++) nonces.use(nonces.create(randomBytes(8), 0), 0)
  t.notOk(nonces.use(nonces.create(randomBytes(8), 1), 1), 'full: refused rather than forgotten')
  const later = NONCE_LIFETIME_MS + 1
  t.ok(nonces.use(nonces.create(randomBytes(8), later), later))
})

t.test('an address that fails without end is turned away, others are not', async (t) => {
  const attempts = createAttempts()
  for (let i = 0; i < 60; i++) {
    t.notOk(attempts.isBlocked('a', 0))
    attempts.addFailure('a', 0)
  }
  t.ok(attempts.isBlocked('a', 0))
  t.notOk(attempts.isBlocked('b', 0))
  t.notOk(attempts.isBlocked('a', 1001), 'one a second')
  for (let i = 0; i < 2000; i++) attempts.addFailure(`other-${i}`, 0)
  t.notOk(attempts.isBlocked('a', 0), 'the memory is bounded')
})
