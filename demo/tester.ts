/**
 * An SVID for the demo's own raw TLS client, by the same way as a sidecar gets one: join token, key in memory, CSR.
 */
import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { Secret } from '../common/secret.ts'
import { nodeKeys } from '../sidecar/adapters/crypto/keys.ts'
import { createIdentityState } from '../sidecar/adapters/fs/identity-state.ts'
import { createCsrClient } from '../sidecar/adapters/grpc/csr-client.ts'
import type { Svid } from '../sidecar/ports.ts'
import { Attester } from '../sidecar/runtime/identity-attest.ts'
import type { TlsIdentity } from './client.ts'
import type { Stack } from './stack.ts'

const TIMEOUT_MS = 10_000

const clock = { now: () => Date.now(), monotonic: () => performance.now() }

function toPem(label: string, der: Uint8Array): string {
  const base64 = Buffer.from(der).toString('base64').replace(/.{64}/g, '$&\n').trimEnd()
  return `-----BEGIN ${label}-----\n${base64}\n-----END ${label}-----\n`
}

/** The workload's SVID from a controller at `controllerPort`, which is the stack's own unless a drill says otherwise. */
export async function fetchSvid(
  stack: Stack,
  workload: string,
  controllerPort = stack.controllerPort,
): Promise<Svid> {
  const stateDir = join(
    stack.work,
    `${workload.replace('/', '.')}.${randomBytes(4).toString('hex')}`,
  )
  mkdirSync(stateDir, { mode: 0o700 })
  const token = new Secret(await stack.createToken(workload))
  const attester = new Attester({
    state: createIdentityState(stateDir),
    client: createCsrClient({ controller: `127.0.0.1:${controllerPort}`, clock }),
    keys: nodeKeys,
    readJoinToken: async () => token,
    clock,
    instanceId: randomBytes(16).toString('hex'),
  })
  return await attester.attest(undefined, AbortSignal.timeout(TIMEOUT_MS))
}

export function toTlsIdentity(svid: Svid): TlsIdentity {
  return {
    cert: svid.certificateChain.map((der) => toPem('CERTIFICATE', der)).join(''),
    key: svid.privateKey.reveal().export({ type: 'pkcs8', format: 'pem' }).toString(),
  }
}

/** Certificate chain and key (PEM) of the workload's SVID. */
export async function fetchIdentity(stack: Stack, workload: string): Promise<TlsIdentity> {
  return toTlsIdentity(await fetchSvid(stack, workload))
}
