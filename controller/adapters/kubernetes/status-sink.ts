/**
 * Statuses by server-side apply to the status subresource, and Events. In: an object and its conditions. Out: what the API
 * server keeps. The field manager owns the whole status, and the UID goes along: one that was made anew is not written to.
 * Source: Kubernetes API conventions; events.k8s.io/v1.
 */
import { MeshError } from '../../../common/errors.ts'
import { KINDS, type PosternObject } from '../../core/crd/index.ts'
import type { StatusSink } from '../../runtime/status-writer.ts'
import type { KubernetesSource } from './cluster-source.ts'
import type { KubeAnswer, KubeClient } from './kube-client.ts'

export const FIELD_MANAGER = 'postern-controller'
const VERSION = 'postern.dev/v1alpha1'
const APPLY = 'application/apply-patch+yaml'
/** events.k8s.io/v1. */
const MAX_NOTE = 1024

export function createStatusSink(
  client: KubeClient,
  source: KubernetesSource,
  instance: string,
): StatusSink {
  return {
    statusOf: ({ kind, metadata: { namespace = '', name } }) =>
      source.statusOf(kind, `${namespace}/${name}`),
    write: async (object, status, signal) => {
      const { name, namespace, uid } = object.metadata
      const metadata = { name, ...(namespace === undefined ? {} : { namespace }), uid }
      const body = { apiVersion: VERSION, kind: object.kind, metadata, status }
      const path = `${pathOf(object)}/status?fieldManager=${FIELD_MANAGER}&force=true`
      const answer = await client.request('PATCH', path, { body, contentType: APPLY, signal })
      if (answer.status === 404 || answer.status === 409) return false
      check(answer, 'a status')
      return true
    },
    tell: async (object, { reason, message }, signal) => {
      const { namespace = 'default', name } = object.metadata
      const body = toEvent(object, { reason, message, namespace, instance })
      const path = `/apis/events.k8s.io/v1/namespaces/${namespace}/events`
      const answer = await client.request('POST', path, { body, signal })
      // A namespace that is about to end takes no Events.
      if (answer.status !== 403 && answer.status !== 404) check(answer, `an Event about ${name}`)
    },
  }
}

function toEvent(
  object: PosternObject,
  about: { reason: string; message: string; namespace: string; instance: string },
) {
  const { kind, metadata } = object
  const { name, uid, namespace } = metadata
  return {
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    metadata: { generateName: `${name}-`, namespace: about.namespace },
    eventTime: new Date().toISOString().replace('Z', '000Z'),
    reportingController: 'postern.dev/controller',
    reportingInstance: about.instance,
    action: 'Accept',
    reason: about.reason,
    regarding: {
      apiVersion: VERSION,
      kind,
      name,
      uid,
      ...(namespace === undefined ? {} : { namespace }),
    },
    note: about.message.slice(0, MAX_NOTE),
    type: 'Warning',
  }
}

function pathOf({ kind, metadata: { namespace, name } }: PosternObject): string {
  const plural = KINDS.find((k) => k.kind === kind)?.plural
  const place = namespace === undefined ? '' : `namespaces/${namespace}/`
  return `/apis/${VERSION}/${place}${plural}/${name}`
}

function check({ status, body }: KubeAnswer, what: string): void {
  if (status < 300) return
  const message = `${what} was answered ${status}: ${String(body.message)}`
  throw new MeshError('ERR_STATE_WRITE', message, { retry: 'backoff' })
}
