/**
 * Makes join tokens. In: which workload, how long. Out: the token's text, once, after its hash is on the disk.
 * A token is bound to the UID that the WorkloadEntry has now: one that is deleted or made anew voids it.
 */
import { formatJoinToken, makeJoinToken, sha256 } from '../../../common/attestation.ts'
import type { Clock } from '../../../common/clock.ts'
import { MeshError } from '../../../common/errors.ts'
import type { Secret } from '../../../common/secret.ts'
import { addToken } from '../../core/ca/registry.ts'
import type { Authority } from './authority.ts'
import type { Log, PodWitness, RandomBytes, WorkloadDirectory } from './ports.ts'
import type { Records } from './records.ts'

export const DEFAULT_TOKEN_TTL_SECONDS = 600
export const MAX_TOKEN_TTL_SECONDS = 86_400

export interface JoinTokenRequest {
  /** `namespace/name` of a WorkloadEntry. */
  readonly workload: string
  /** 1 to 86,400. Default 600. */
  readonly ttlSeconds?: number
}

export interface IssuedJoinToken {
  readonly token: Secret<string>
  /** Epoch milliseconds. */
  readonly expiresMs: number
}

export interface TokenParts {
  readonly authority: Authority
  readonly records: Records
  readonly directory: WorkloadDirectory
  /** Absent: there are no pods. */
  readonly pods?: PodWitness
  readonly clock: Clock
  readonly randomBytes: RandomBytes
  readonly log: Log
}

/** Throws ERR_WORKLOAD_NOT_FOUND, ERR_CONFIG (ttl), ERR_STATE_WRITE. */
export async function createJoinToken(
  parts: TokenParts,
  request: JoinTokenRequest,
): Promise<IssuedJoinToken> {
  const ttlSeconds = request.ttlSeconds ?? DEFAULT_TOKEN_TTL_SECONDS
  if (!Number.isInteger(ttlSeconds) || ttlSeconds < 1 || ttlSeconds > MAX_TOKEN_TTL_SECONDS) {
    const message = `a join token's lifetime is a whole number of seconds, 1 to ${MAX_TOKEN_TTL_SECONDS}`
    throw new MeshError('ERR_CONFIG', message)
  }
  const workload = parts.directory.workloadOf({ key: request.workload })
  if (workload === undefined) {
    const message = `no accepted WorkloadEntry ${request.workload}; give its namespace/name, see postern get workloadentries`
    throw new MeshError('ERR_WORKLOAD_NOT_FOUND', message)
  }
  if (parts.pods?.podOf(workload.uid) !== undefined) {
    const message = `${request.workload} is a pod, which is attested by its own token; join tokens are for WorkloadEntries`
    throw new MeshError('ERR_WORKLOAD_NOT_FOUND', message)
  }
  await parts.records.refresh()
  const nowMs = parts.clock.now()
  const expiresMs = nowMs + ttlSeconds * 1000
  const token = makeJoinToken(parts.randomBytes, parts.authority.rootFingerprint)
  const record = {
    secretHash: sha256(token.secret.reveal()).toString('hex'),
    workload: `${workload.namespace}/${workload.name}`,
    workloadUid: workload.uid,
    expiresMs,
  }
  await parts.records.commit((registry) => addToken(registry, token.id, record, nowMs))
  parts.log.info(
    { workload: record.workload, tokenId: token.id, expires: new Date(expiresMs).toISOString() },
    'join token created',
  )
  return { token: formatJoinToken(token), expiresMs }
}
