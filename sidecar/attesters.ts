/** How this workload is proved to the controller, part of the composition root: as a pod, or by a join token. */
import type { Logger } from 'pino'
import type { Clock } from '../common/clock.ts'
import { nodeKeys } from './adapters/crypto/keys.ts'
import {
  createIdentityState,
  isInMemory,
  readJoinTokenFile,
  readMountedFile,
} from './adapters/fs/identity-state.ts'
import { createCsrClient } from './adapters/grpc/csr-client.ts'
import type { PodConfig, SidecarConfig } from './config.ts'
import { Attester } from './runtime/identity-attest.ts'
import type { WorkloadAttester } from './runtime/identity-ports.ts'
import { PodAttester } from './runtime/pod-attest.ts'

export interface AttesterOptions {
  readonly config: SidecarConfig
  readonly clock: Clock
  readonly instanceId: string
  readonly log: Logger
}

const KEPT_SVID = 'svid.json'

/** `config.state` must be there. */
export async function createAttester(options: AttesterOptions): Promise<WorkloadAttester> {
  const { config, clock, instanceId } = options
  const log = options.log.child({ component: 'identity' })
  const client = createCsrClient({ controller: config.controller, clock })
  const both = { client, keys: nodeKeys, clock, instanceId }
  if (config.pod !== undefined) {
    const state = (await isInMemory(config.state))
      ? createIdentityState(config.state, log, KEPT_SVID)
      : undefined
    if (state === undefined)
      log.warn({ state: config.state }, 'not in memory: a restart will need the controller')
    return new PodAttester({ ...both, ...podFiles(config.pod), state, log })
  }
  const { joinTokenFile } = config
  return new Attester({
    ...both,
    state: createIdentityState(config.state, log),
    readJoinToken: async () =>
      joinTokenFile === undefined ? undefined : readJoinTokenFile(joinTokenFile),
  })
}

function podFiles(pod: PodConfig) {
  return {
    pod,
    readToken: () => readMountedFile(pod.tokenFile),
    readRoots: () => readMountedFile(pod.rootsFile),
  }
}
