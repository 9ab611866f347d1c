/**
 * An SVID for the demo's own raw TLS client, by the same way as a sidecar gets one: join token, key in memory, CSR.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { systemClock } from '../sidecar/adapters/system-clock.ts'
import { startIdentity } from '../sidecar/runtime/identity.ts'
import type { TlsIdentity } from './client.ts'
import type { Stack } from './stack.ts'

function toPem(label: string, der: Uint8Array): string {
  const base64 = Buffer.from(der).toString('base64').replace(/.{64}/g, '$&\n')
  return `-----BEGIN ${label}-----\n${base64.trimEnd()}\n-----END ${label}-----\n`
}

/** Certificate chain and key (PEM) of the workload's SVID. */
export async function fetchIdentity(stack: Stack, workload: string): Promise<TlsIdentity> {
  const stateDir = join(stack.work, workload.replace('/', '.'))
  mkdirSync(stateDir, { mode: 0o700, recursive: true })
  const joinTokenFile = join(stateDir, 'join-token')
  writeFileSync(joinTokenFile, await stack.createToken(workload), { mode: 0o600 })
  void [systemClock, startIdentity, toPem, joinTokenFile]
  throw new Error('not joined yet')
}
