import t from 'tap'
import type { RetrySettings } from '../../../../../controller/core/model/traffic.ts'
import { buildMethodRetries, buildSafeRetries } from '../../../../../controller/core/xds/retry.ts'

const settings: RetrySettings = {
  attempts: 3,
  methods: ['GET'],
  onReset: true,
  onUnavailable: false,
  statusCodes: [503],
}

t.test('by default only what never arrived is tried again', async (t) => {
  const retries = buildSafeRetries(undefined)
  t.match(retries, {
    retryOn: 'connect-failure,refused-stream,reset-before-request',
    numRetries: 2,
  })
  t.same(retries?.retriableStatusCodes, [])
})

t.test('methods of the list are tried again for more', async (t) => {
  t.match(buildMethodRetries(settings), {
    retryOn: /reset,retriable-status-codes$/,
    retriableStatusCodes: [503],
    numRetries: 3,
  })
  t.match(buildSafeRetries(settings), { retryOn: /reset-before-request$/, numRetries: 3 })
  t.match(buildMethodRetries({ ...settings, onUnavailable: true })?.retryOn, /,unavailable,/)
})

t.test('no attempts, no retries; nothing to try again for, no difference by method', async (t) => {
  const none = { ...settings, attempts: 0 }
  t.same([buildSafeRetries(none), buildMethodRetries(none)], [undefined, undefined])
  t.equal(buildMethodRetries({ ...settings, onReset: false, statusCodes: [] }), undefined)
  t.equal(buildMethodRetries({ ...settings, methods: [] }), undefined)
})
