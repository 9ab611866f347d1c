/**
 * What a test writes to a real API server in place of users, controllers and kubelets: CRDs, namespaces, Services,
 * EndpointSlices, and pods with the status that a kubelet would report.
 */
import { X509Certificate } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseAllDocuments } from 'yaml'
import { KINDS } from '../../controller/core/crd/index.ts'
import { permissionsFor, toRules } from '../../controller/core/kubernetes/permissions.ts'
import type { ApiResponse, ApiServer } from './apiserver.ts'
import { waitFor } from './wait.ts'

type Json = Record<string, unknown>

const CRDS = join(import.meta.dirname, '../../crds')
const APPLY = 'application/apply-patch+yaml'
const PLACES: Readonly<Record<string, string>> = {
  Pod: 'api/v1/namespaces/NS/pods',
  Service: 'api/v1/namespaces/NS/services',
  ServiceAccount: 'api/v1/namespaces/NS/serviceaccounts',
  ConfigMap: 'api/v1/namespaces/NS/configmaps',
  ControllerRevision: 'apis/apps/v1/namespaces/NS/controllerrevisions',
  Secret: 'api/v1/namespaces/NS/secrets',
  Lease: 'apis/coordination.k8s.io/v1/namespaces/NS/leases',
  Event: 'apis/events.k8s.io/v1/namespaces/NS/events',
  EndpointSlice: 'apis/discovery.k8s.io/v1/namespaces/NS/endpointslices',
  Namespace: 'api/v1/namespaces',
  ClusterRole: 'apis/rbac.authorization.k8s.io/v1/clusterroles',
  ClusterRoleBinding: 'apis/rbac.authorization.k8s.io/v1/clusterrolebindings',
  Role: 'apis/rbac.authorization.k8s.io/v1/namespaces/NS/roles',
  RoleBinding: 'apis/rbac.authorization.k8s.io/v1/namespaces/NS/rolebindings',
}

export class KubeCluster {
  readonly server: ApiServer

  constructor(server: ApiServer) {
    this.server = server
  }

  /** The CRDs, and namespaces with a service account for each of these names. */
  async prepare(accounts: Readonly<Record<string, readonly string[]>>): Promise<void> {
    for (const file of readdirSync(CRDS).sort()) {
      const text = readFileSync(join(CRDS, file), 'utf8')
      const [crd] = parseAllDocuments(text).map((d) => d.toJS() as { metadata: { name: string } })
      const path = `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${crd?.metadata.name}`
      await this.#ok('PATCH', `${path}?fieldManager=test`, { text, contentType: APPLY })
      await waitFor(() => this.#isEstablished(path), { what: `${file} established` })
    }
    for (const [namespace, names] of Object.entries(accounts)) {
      await this.apply({ kind: 'Namespace', metadata: { name: namespace } })
      for (const name of ['default', ...names])
        await this.apply({ kind: 'ServiceAccount', metadata: { namespace, name } })
    }
  }

  /** The controller's service account with what docs/reference/rbac.md lists; returns a token of it. */
  async controllerToken(): Promise<string> {
    const permissions = permissionsFor(KINDS.map(({ plural }) => plural))
    const name = 'postern-controller'
    const metadata = { name, namespace: 'postern-system' }
    const subjects = [{ kind: 'ServiceAccount', ...metadata }]
    const roleRef = (kind: string) => ({ apiGroup: 'rbac.authorization.k8s.io', kind, name })
    await this.apply({ kind: 'ServiceAccount', metadata })
    await this.apply({ kind: 'Role', metadata, rules: toRules(permissions, 'namespace') })
    await this.apply({ kind: 'RoleBinding', metadata, subjects, roleRef: roleRef('Role') })
    const cluster = { name }
    const rules = toRules(permissions, 'cluster')
    await this.apply({ kind: 'ClusterRole', metadata: cluster, rules })
    const binding = { metadata: cluster, subjects, roleRef: roleRef('ClusterRole') }
    await this.apply({ kind: 'ClusterRoleBinding', ...binding })
    return this.token(`postern-system/${name}`, 'https://kubernetes.default.svc')
  }

  /** DER roots, as the pods of this namespace find them; waits for them. */
  async roots(namespace: string): Promise<readonly Uint8Array[]> {
    const object = { kind: 'ConfigMap', metadata: { namespace, name: 'postern-ca-roots' } }
    const find = async () => {
      const { data } = ((await this.get(object)) ?? {}) as { data?: Record<string, string> }
      return data?.['ca.crt']
    }
    const pem = await waitFor(find, { what: `roots in ${namespace}` })
    return pem.split(/(?<=-----END CERTIFICATE-----\n)/).map((one) => new X509Certificate(one).raw)
  }

  /** Server-side apply; returns what is there then. */
  async apply(object: Json): Promise<Json> {
    const { uid: _, creationTimestamp: __, ...metadata } = object.metadata as Json
    const json = { apiVersion: versionOf(object), ...object, metadata }
    const path = `${pathOf(json)}?fieldManager=test&force=true`
    const { body } = await this.#ok('PATCH', path, {
      text: JSON.stringify(json),
      contentType: APPLY,
    })
    return body as Json
  }

  /** YAML of one or more objects. */
  async applyYaml(text: string): Promise<void> {
    for (const document of parseAllDocuments(text)) await this.apply(document.toJS() as Json)
  }

  /** A pod as the API server would have it once it runs. Returns its UID. */
  async run(pod: Json): Promise<string> {
    const { status, ...rest } = pod as { status?: Json } & Json
    const made = await this.apply(rest)
    await this.setStatus(pod, status ?? {})
    return String((made.metadata as Json).uid)
  }

  async setStatus(object: Json, status: Json): Promise<void> {
    const text = JSON.stringify({ status })
    const contentType = 'application/merge-patch+json'
    await this.#ok('PATCH', `${pathOf(object)}/status`, { text, contentType })
  }

  async get(object: Json): Promise<Json | undefined> {
    const { status, body } = await this.server.request('GET', pathOf(object))
    return status === 200 ? (body as Json) : undefined
  }

  async list(kind: string, namespace = ''): Promise<readonly Json[]> {
    const path = placeOf(kind).replace('/namespaces/NS', namespace && `/namespaces/${namespace}`)
    const { body } = await this.#ok('GET', `/${path}`)
    return body.items as readonly Json[]
  }

  /** A projected token, as a kubelet asks for it; without `pod` it is bound to none. */
  async token(
    account: string,
    audience: string,
    pod?: { name: string; uid: string },
  ): Promise<string> {
    const [namespace, name] = account.split('/')
    const boundObjectRef = pod && { apiVersion: 'v1', kind: 'Pod', ...pod }
    const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`
    const spec = { audiences: [audience], expirationSeconds: 600, boundObjectRef }
    const { body } = await this.#ok('POST', path, { json: { spec } })
    return String((body.status as Json).token)
  }

  /** At once, as if the kubelet had ended it. */
  async remove(object: Json): Promise<void> {
    await this.#ok('DELETE', `${pathOf(object)}?gracePeriodSeconds=0`)
  }

  async #isEstablished(path: string): Promise<boolean> {
    const { body } = await this.server.request('GET', path)
    const { conditions = [] } = (body.status ?? {}) as { conditions?: readonly Json[] }
    return conditions.some((c) => c.type === 'Established' && c.status === 'True')
  }

  async #ok(...request: Parameters<ApiServer['request']>): Promise<ApiResponse> {
    const answer = await this.server.request(...request)
    if (answer.status >= 300)
      throw new Error(`${request[0]} ${request[1]}: ${answer.status} ${answer.body.message}`)
    return answer
  }
}

function placeOf(kind: string): string {
  const own = KINDS.find((k) => k.kind === kind)
  if (own === undefined) return PLACES[kind] ?? `unknown/${kind}`
  return `apis/postern.dev/v1alpha1/${own.namespaced ? 'namespaces/NS/' : ''}${own.plural}`
}

function versionOf({ kind }: Json): string {
  const [first, group, version] = placeOf(String(kind)).split('/')
  return first === 'api' ? (group ?? '') : `${group}/${version}`
}

export function pathOf({ kind, metadata }: Json): string {
  const { namespace = 'default', name } = metadata as { namespace?: string; name: string }
  return `/${placeOf(String(kind)).replace('NS', namespace)}/${name}`
}
