/**
 * Drill: SVIDs of 20 s are renewed under load (issue 4, Shows 4). No request fails, and new serial numbers are seen on
 * the wire: the drill opens a TLS connection of its own and reads the server's certificate.
 */
import tls from 'node:tls'
import { startLoad } from '../demo/load.ts'
import { waitFor } from '../demo/process.ts'
import type { Stack } from '../demo/stack.ts'
import { claim, type DrillReport } from './report.ts'

/** Renewal comes at half-life, 10 s; twice that is late. */
const RENEWAL_MS = 20_000

/** Serial number of the certificate that a port shows; undefined when it shows none. */
export function readSerial(port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    // Only the certificate's number is read; a client without a certificate is refused after that.
    const socket = tls.connect({ host: '127.0.0.1', port, rejectUnauthorized: false })
    socket.on('secureConnect', () => {
      resolve(socket.getPeerCertificate().serialNumber)
      socket.destroy()
    })
    socket.on('error', () => resolve(undefined))
    socket.setTimeout(2000, () => socket.destroy(new Error('no handshake')))
  })
}

/** Manifests with SVIDs of 20 s. */
export function withShortSvids(text: string): string {
  return text.replace(/^( +)trustDomain: .*$/m, '$&\n$1svid: { lifetimeSeconds: 20 }')
}

/** A stack that was started with `withShortSvids`. */
export async function drillRenewal(stack: Stack, renewals: number): Promise<DrillReport> {
  const common = { path: '/orders/42', http1: 4, http2: 2 }
  const allowed = startLoad({ ...common, port: stack.ports.webToOrders, ratePerSecond: 200 })
  const stranger = startLoad({ ...common, port: stack.ports.malloryToOrders, ratePerSecond: 20 })
  const serials: string[] = []
  try {
    for (let i = 0; i <= renewals; i++) {
      const isNew = async () => {
        const serial = await readSerial(stack.ports.orders)
        if (serial === undefined || serials.includes(serial)) return false
        serials.push(serial)
        return true
      }
      await waitFor(`serial number ${i + 1} on the wire`, isNew, { timeoutMs: RENEWAL_MS })
    }
  } finally {
    await Promise.all([allowed.stop(), stranger.stop()])
  }
  const failed = allowed.answers.filter((a) => a.status !== 200)
  const wrong = stranger.answers.filter((a) => a.status === 200).length
  return {
    name: 'SVIDs of 20 s are renewed under load',
    claims: [
      claim(
        `${renewals} renewals, new serial numbers seen on the wire`,
        serials.length > renewals,
        serials.map((s) => s.slice(0, 8)).join(' '),
      ),
      claim(
        `no request fails (${allowed.answers.length} sent)`,
        failed.length === 0,
        failed
          .map((a) => `${a.status} ${a.error ?? ''}`)
          .slice(0, 5)
          .join(', ') || '0',
      ),
      claim(
        'the stranger stays denied',
        wrong === 0,
        `${wrong} of ${stranger.answers.length} passed`,
      ),
    ],
  }
}
