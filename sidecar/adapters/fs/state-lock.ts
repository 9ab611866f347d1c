/**
 * One sidecar per state directory: two would spend each other's credential and take each other's sockets.
 * In: the directory. Out: a lock that ends with the process, however that ends: a listening socket in Linux's abstract
 * namespace, which is atomic and leaves nothing behind.
 */
import { createHash } from 'node:crypto'
import { realpath } from 'node:fs/promises'
import { createServer } from 'node:net'
import { MeshError } from '../../../common/errors.ts'

/** Returns the way to unlock. Errors: ERR_CONFIG when another sidecar has it. */
export async function lockState(stateDir: string): Promise<() => Promise<void>> {
  const path = await realpath(stateDir)
  const digest = createHash('sha256').update(path).digest('hex').slice(0, 32)
  const server = createServer((socket) => socket.destroy()).unref()
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
      const message = `another sidecar uses the state directory ${stateDir}; stop it, or give this one its own with --state`
      reject(new MeshError('ERR_CONFIG', message, { cause }))
    })
    server.listen({ path: `\0postern-sidecar-${process.getuid?.()}-${digest}` }, resolve)
  })
  return () => new Promise((resolve) => server.close(() => resolve()))
}
