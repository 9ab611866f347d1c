/**
 * What the API server says of pods: TokenReview for their tokens, the informer for what they are now.
 * Source: authentication.k8s.io/v1; the pod's name and UID stand in the review's `extra` for tokens bound to a pod.
 */
import { MeshError } from '../../../common/errors.ts'
import type { Secret } from '../../../common/secret.ts'
import type { Pod } from '../../core/kubernetes/objects.ts'
import { canonical } from '../../core/kubernetes/service.ts'
import type { PodWitness, TokenOwner } from '../../runtime/identity/ports.ts'
import type { Json, KubeClient } from './kube-client.ts'

export const TOKEN_AUDIENCE = 'postern-ca'
const REVIEWS = '/apis/authentication.k8s.io/v1/tokenreviews'
const REVIEW_TIMEOUT_MS = 5_000
const EXTRA = 'authentication.kubernetes.io/'
const USER = /^system:serviceaccount:([^:]+):([^:]+)$/

export function createPodWitness(
  client: KubeClient,
  pods: { podByUid(uid: string): Pod | undefined; isPodAddress(address: string): boolean },
): PodWitness {
  return {
    review: async (token) => {
      const status = await review(client, token)
      return status === 'unanswered' ? status : readReview(status)
    },
    podOf: (uid) => {
      const pod = pods.podByUid(uid)
      if (pod === undefined) return undefined
      const isTerminating = pod.metadata.deletionTimestamp !== undefined
      return { addresses: canonical(pod.podIPs), isTerminating, nodeName: pod.nodeName }
    },
    isPodAddress: (address) => pods.isPodAddress(address),
  }
}

async function review(client: KubeClient, token: Secret<string>): Promise<Json | 'unanswered'> {
  const body = {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenReview',
    spec: { token: token.reveal(), audiences: [TOKEN_AUDIENCE] },
  }
  // The sidecar waits for 10 s.
  const signal = AbortSignal.timeout(REVIEW_TIMEOUT_MS)
  const asked = { body, signal }
  const answer = await client.request('POST', REVIEWS, asked).catch(() => undefined)
  if (answer === undefined || answer.status >= 500) return 'unanswered'
  if (answer.status !== 201 && answer.status !== 200)
    throw notReady(`a TokenReview was answered ${answer.status}`)
  return (answer.body.status ?? {}) as Json
}

/** Everything must be there: what is missing is never taken for agreement. */
function readReview({ authenticated, audiences, user, error }: Json): TokenOwner | undefined {
  if (authenticated !== true || (typeof error === 'string' && error !== '')) return undefined
  if (!Array.isArray(audiences) || !audiences.includes(TOKEN_AUDIENCE)) return undefined
  const { username, extra = {} } = (user ?? {}) as { username?: string; extra?: Json }
  const [, namespace, serviceAccount] = USER.exec(username ?? '') ?? []
  const podName = sole(extra[`${EXTRA}pod-name`])
  const podUid = sole(extra[`${EXTRA}pod-uid`])
  if (namespace === undefined || serviceAccount === undefined) return undefined
  if (podName === undefined || podUid === undefined) return undefined
  const nodeName = sole(extra[`${EXTRA}node-name`]) ?? ''
  return { namespace, serviceAccount, podName, podUid, nodeName }
}

function sole(value: unknown): string | undefined {
  const [first, ...rest] = Array.isArray(value) ? (value as readonly unknown[]) : []
  return typeof first === 'string' && first !== '' && rest.length === 0 ? first : undefined
}

function notReady(why: string): MeshError {
  const message = `the token can't be reviewed: ${why}`
  return new MeshError('ERR_CA_NOT_READY', message, { retry: 'backoff' })
}
