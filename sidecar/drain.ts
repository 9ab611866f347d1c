/**
 * `postern sidecar drain`: tells the Envoy of a running sidecar that the workload is about to end. Clients of its inbound
 * listeners are told to leave (`connection: close`, GOAWAY); nothing is refused, and outbound stays. What the injected
 * preStop runs: the sidecar itself gets SIGTERM only after the app has ended.
 */
import { join, resolve } from 'node:path'
import { MeshError } from '../common/errors.ts'
import { AdminClient } from './adapters/envoy/admin-client.ts'
import { runPaths } from './core/envoy/bootstrap.ts'

const USAGE = 'usage: postern sidecar drain --state DIR | --run-dir DIR'

/** Rejects with ERR_CONFIG, or ERR_PROXY_UNAVAILABLE when no Envoy answers there. */
export async function drainSidecar(argv: readonly string[]): Promise<void> {
  const [flag, dir, ...rest] = argv
  if ((flag !== '--state' && flag !== '--run-dir') || !dir || rest.length > 0)
    throw new MeshError('ERR_CONFIG', USAGE)
  const runDir = flag === '--state' ? join(resolve(dir), 'run') : resolve(dir)
  const { adminSocket } = runPaths(runDir)
  if (await new AdminClient(adminSocket).drainInbound()) return
  throw new MeshError('ERR_PROXY_UNAVAILABLE', `no Envoy answers at ${adminSocket}`)
}
