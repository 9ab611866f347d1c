/**
 * What is watched of the API server, and what is kept of each object. Pods that are over are not asked for; of Postern's
 * own objects the text is kept that a file of manifests would have, and beside it the status that others see.
 */
import type { Condition, KindInfo } from '../../core/crd/index.ts'
import {
  type EndpointSlice,
  type KubeService,
  type Namespace,
  type Pod,
  readEndpointSlice,
  readNamespace,
  readPod,
  readService,
} from '../../core/kubernetes/objects.ts'
import type { Resource } from './informer.ts'
import type { Json } from './kube-client.ts'

export const PODS: Resource<Pod> = {
  name: 'pods',
  path: '/api/v1/pods',
  query: { fieldSelector: 'status.phase!=Succeeded,status.phase!=Failed' },
  read: readPod,
}

export const SERVICES: Resource<KubeService> = {
  name: 'services',
  path: '/api/v1/services',
  read: readService,
}

export const ENDPOINT_SLICES: Resource<EndpointSlice> = {
  name: 'endpointslices',
  path: '/apis/discovery.k8s.io/v1/endpointslices',
  query: { labelSelector: 'kubernetes.io/service-name' },
  read: readEndpointSlice,
}

export const NAMESPACES: Resource<Namespace> = {
  name: 'namespaces',
  path: '/api/v1/namespaces',
  read: readNamespace,
}

/** One object of Postern's own. */
export interface CustomObject {
  /** Its path is `Kind/namespace/name`. */
  readonly file: { readonly path: string; readonly text: string }
  readonly status: { readonly conditions?: readonly Condition[] }
}

const GROUP = '/apis/postern.dev/v1alpha1'

export function customResource({ kind, plural }: KindInfo): Resource<CustomObject> {
  return {
    name: plural,
    // A status is ours: it is written after a pass, and asks for none.
    matters: ({ file }) => file,
    path: `${GROUP}/${plural}`,
    read: (json) => {
      const object = toManifest(json, kind)
      const { namespace, name } = object.metadata as { namespace?: string; name: string }
      return {
        file: {
          path: [kind, ...(namespace === undefined ? [] : [namespace]), name].join('/'),
          text: JSON.stringify(object, null, 2),
        },
        status: (json.status ?? {}) as CustomObject['status'],
      }
    },
  }
}

/** Without what others write: status, managed fields, versions. */
function toManifest({ metadata, spec }: Json, kind: string): Json {
  const { name, namespace, labels, uid, generation, creationTimestamp } = metadata as Json
  return {
    apiVersion: 'postern.dev/v1alpha1',
    kind,
    metadata: { name, namespace, labels, uid, generation, creationTimestamp },
    spec,
  }
}
