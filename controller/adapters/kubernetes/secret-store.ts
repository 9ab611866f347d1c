/**
 * The authority's keys and its registry in one Secret, which all replicas read. Made once: of two that try at once one
 * fails, and takes what the other made. Each write of the registry names the version that it follows, and touches nothing
 * else: it never brings back what was spent, nor a key that was exchanged. A Secret that is gone is not made again here.
 */
import { MeshError } from '../../../common/errors.ts'
import { Secret } from '../../../common/secret.ts'
import { OTHER_ROOTS_FILE, REGISTRY_FILE } from '../../runtime/identity/authority.ts'
import type { IdentityStore, SharedKeys } from '../../runtime/identity/ports.ts'
import type { Log } from '../../runtime/ports.ts'
import { Informer } from './informer.ts'
import type { Json, KubeAnswer, KubeClient } from './kube-client.ts'

export interface SecretStoreOptions {
  readonly client: KubeClient
  readonly namespace: string
  readonly name: string
  readonly mayCreate: SharedKeys['mayCreate']
  readonly givenOut: SharedKeys['givenOut']
  readonly log: Log
}

/** A Secret holds 1 MiB; some 3,000 WorkloadEntries that joined by token. Pods take no room. */
const MAX_REGISTRY_BYTES = 900_000
const MERGE = 'application/merge-patch+json'

interface Found {
  readonly version: string
  readonly files: ReadonlyMap<string, Secret<string>>
}

export class SecretStore implements IdentityStore {
  readonly place: string
  readonly remedy: string
  readonly shared: SharedKeys
  readonly #options: SecretStoreOptions
  /** Says only that something changed: keys lie in no cache. */
  readonly #informer: Informer<string>
  readonly #listeners = new Set<() => void>()
  /** Of the Secret whose registry was read or written last. */
  #registryVersion = ''

  constructor(options: SecretStoreOptions) {
    this.#options = options
    const { client, namespace, name, log, mayCreate, givenOut } = options
    this.place = `Secret ${namespace}/${name}`
    this.remedy =
      'put it back from a backup; to begin anew with another authority, every workload with new certificates, see docs/kubernetes.md'
    this.#informer = new Informer({
      resource: {
        name: `secrets/${name}`,
        path: this.#folder(),
        query: { fieldSelector: `metadata.name=${name}` },
        read: ({ metadata }) => String((metadata as Json).resourceVersion),
      },
      client,
      log,
      onChange: () => this.#changed(),
    })
    this.shared = {
      mayCreate,
      givenOut,
      otherRoots: async () => (await this.#find())?.files.get(OTHER_ROOTS_FILE)?.reveal() ?? '',
      onChange: (listener) => void this.#listeners.add(listener),
    }
  }

  /** Resolves when it is being followed. */
  async start(): Promise<void> {
    this.#informer.start()
    await this.#informer.synced()
  }

  stop(): Promise<void> {
    return this.#informer.stop()
  }

  async exists(): Promise<boolean> {
    return (await this.#find()) !== undefined
  }

  async create(files: ReadonlyMap<string, Secret<string>>): Promise<void> {
    const { namespace, name } = this.#options
    const data = [...files].map(([key, text]) => [key, toBase64(text.reveal())])
    const body = {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name, namespace, labels: { 'app.kubernetes.io/part-of': 'postern' } },
      type: 'Opaque',
      data: Object.fromEntries(data),
    }
    const answer = await this.#request('POST', this.#folder(), { body })
    // Another was faster: its keys are the keys.
    if (answer.status !== 201 && answer.status !== 409) throw this.#refused(answer, 'made')
  }

  async read(name: string): Promise<Secret<string>> {
    const found = await this.#find()
    const text = found?.files.get(name)
    if (found === undefined || text === undefined) {
      const message = `${name} is missing in ${this.place}; ${this.remedy}`
      throw new MeshError('ERR_STATE_CORRUPT', message)
    }
    if (name === REGISTRY_FILE) this.#registryVersion = found.version
    return text
  }

  async write(name: string, content: Secret<string>): Promise<void> {
    if (name !== REGISTRY_FILE) throw new Error(`${name} is written once`)
    const text = content.reveal()
    if (text.length > MAX_REGISTRY_BYTES) {
      const message = `${name} has no room in ${this.place}: too many WorkloadEntries joined by token; see docs/kubernetes.md`
      throw new MeshError('ERR_STATE_WRITE', message, { retry: 'backoff' })
    }
    const body = {
      metadata: { resourceVersion: this.#registryVersion },
      data: { [name]: toBase64(text) },
    }
    const path = `${this.#folder()}/${this.#options.name}`
    const answer = await this.#request('PATCH', path, { body, contentType: MERGE })
    if (answer.status !== 200) throw this.#refused(answer, 'written')
    this.#registryVersion = String((answer.body.metadata as Json).resourceVersion)
  }

  async #find(): Promise<Found | undefined> {
    const answer = await this.#request('GET', `${this.#folder()}/${this.#options.name}`)
    if (answer.status === 404) return undefined
    if (answer.status !== 200) throw unknown(`${this.place} was answered ${answer.status}`)
    const { metadata, data } = answer.body as { metadata: Json; data?: Record<string, string> }
    const files = Object.entries(data ?? {}).map(
      ([name, text]) => [name, new Secret(Buffer.from(text, 'base64').toString())] as const,
    )
    return { version: String(metadata.resourceVersion), files: new Map(files) }
  }

  async #request(...request: Parameters<KubeClient['request']>): Promise<KubeAnswer> {
    try {
      return await this.#options.client.request(...request)
    } catch (cause) {
      throw unknown(cause instanceof Error ? cause.message : String(cause), cause)
    }
  }

  #refused({ status, body }: KubeAnswer, what: string): MeshError {
    const message = `${this.place} can't be ${what}: ${status} ${String(body.message)}`
    return new MeshError('ERR_STATE_WRITE', message, { retry: 'backoff' })
  }

  #changed(): void {
    for (const listener of this.#listeners) listener()
  }

  #folder(): string {
    return `/api/v1/namespaces/${this.#options.namespace}/secrets`
  }
}

const toBase64 = (text: string) => Buffer.from(text).toString('base64')

function unknown(message: string, cause?: unknown): MeshError {
  return new MeshError('ERR_CA_NOT_READY', message, { retry: 'backoff', cause })
}
