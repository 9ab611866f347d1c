/**
 * Tells the API server by which roots to know the webhooks: caBundle of Postern's webhook configurations, by server-side
 * apply, by the leader alone. Looked at again from time to time: others may write them too, or make them anew.
 * What is not there is left alone: the chart makes them.
 */
import { WEBHOOK_CONFIGURATIONS } from '../../core/kubernetes/permissions.ts'
import type { Log } from '../../runtime/identity/ports.ts'
import type { KubeClient } from './kube-client.ts'
import { FIELD_MANAGER } from './status-sink.ts'

export interface WebhookConfigurationsOptions {
  readonly client: KubeClient
  /** PEM; undefined: there are none yet. */
  readonly roots: () => string | undefined
  readonly isLeader: () => boolean
  readonly log: Log
}

const API = 'admissionregistration.k8s.io/v1'
const LOOK_EVERY_MS = 15_000
const TOUCH_MS = 200

export class WebhookConfigurations {
  readonly name = 'webhook-configurations'
  readonly #options: WebhookConfigurationsOptions
  readonly #stopped = new AbortController()
  #timer: NodeJS.Timeout | undefined
  #running: Promise<void> = Promise.resolve()

  constructor(options: WebhookConfigurationsOptions) {
    this.#options = options
  }

  start(): void {
    this.#schedule(TOUCH_MS)
  }

  /** Soon: the leader or the roots may be others. */
  touch(): void {
    if (this.#timer !== undefined) this.#schedule(TOUCH_MS)
  }

  async stop(): Promise<void> {
    this.#stopped.abort()
    clearTimeout(this.#timer)
    this.#timer = undefined
    await this.#running
  }

  #schedule(afterMs: number): void {
    if (this.#stopped.signal.aborted) return
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      this.#running = this.#running.then(() => this.#applyAll())
      this.#schedule(LOOK_EVERY_MS)
    }, afterMs)
  }

  async #applyAll(): Promise<void> {
    const { roots, isLeader, log } = this.#options
    const pem = roots()
    if (pem === undefined || !isLeader() || this.#stopped.signal.aborted) return
    for (const plural of Object.keys(
      WEBHOOK_CONFIGURATIONS,
    ) as (keyof typeof WEBHOOK_CONFIGURATIONS)[]) {
      try {
        await this.#apply(plural, Buffer.from(pem).toString('base64'))
      } catch (err) {
        if (!this.#stopped.signal.aborted)
          log.warn({ err, plural }, 'roots of webhooks not written')
      }
    }
  }

  async #apply(plural: keyof typeof WEBHOOK_CONFIGURATIONS, caBundle: string): Promise<void> {
    const { client, log } = this.#options
    const { kind, name, webhook } = WEBHOOK_CONFIGURATIONS[plural]
    const path = `/apis/${API}/${plural}/${name}`
    const { signal } = this.#stopped
    const found = await client.request('GET', path, { signal })
    const { webhooks = [] } = found.body as {
      webhooks?: readonly { name: string; clientConfig?: { caBundle?: string } }[]
    }
    const ours = webhooks.find((one) => one.name === webhook)
    if (found.status !== 200 || ours === undefined || ours.clientConfig?.caBundle === caBundle)
      return
    const metadata = { name }
    const body = {
      apiVersion: API,
      kind,
      metadata,
      webhooks: [{ name: webhook, clientConfig: { caBundle } }],
    }
    const answer = await client.request(
      'PATCH',
      `${path}?fieldManager=${FIELD_MANAGER}&force=true`,
      {
        body,
        contentType: 'application/apply-patch+yaml',
        signal,
      },
    )
    if (answer.status < 300) log.info({ name }, 'roots of webhooks written')
    else log.warn({ name, reason: String(answer.body.message) }, 'roots of webhooks not written')
  }
}
