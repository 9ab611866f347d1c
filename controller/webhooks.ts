/**
 * The webhooks, part of the composition root: opened once the mesh has its authority, which issues their certificate.
 * In: the configuration, the core's parts. Out: a server to open and stop; without --webhook, or with files, none.
 */
import { readFileSync } from 'node:fs'
import type { Logger } from 'pino'
import { MeshError } from '../common/errors.ts'
import { nodeKeys } from './adapters/crypto/keys.ts'
import { WebhookServer } from './adapters/http/webhook-server.ts'
import type { Config } from './config.ts'
import { defaultSettings, type InjectionSettings, readSettings } from './core/inject/settings.ts'
import type { Entrance } from './entrance.ts'
import { Admission } from './runtime/admission.ts'
import type { RegoCompiler } from './runtime/ports.ts'
import { keepServing } from './runtime/serving-certificate.ts'
import type { Sources } from './sources.ts'

export interface WebhookParts {
  readonly config: Config
  readonly entrance: Entrance
  readonly sources: Sources
  readonly compiler: RegoCompiler
  readonly log: Logger
}

const SERVICE = 'postern-controller'
const VERSION_FILE = new URL('../package.json', import.meta.url)

export class Webhooks {
  readonly #parts: WebhookParts
  readonly #admission: Admission | undefined
  #opened: Promise<() => Promise<void>> | undefined

  /** Throws ERR_CONFIG when the settings of injection are wrong. */
  constructor(parts: WebhookParts) {
    this.#parts = parts
    const { config, sources, compiler } = parts
    if (config.webhook === undefined) return
    const { manifests, cluster } = sources
    const settings = loadSettings(config.injection)
    this.#admission = new Admission({
      settings,
      manifests,
      compiler,
      ...(cluster === undefined ? {} : { cluster }),
    })
  }

  /** Does nothing when it is open. Errors: ERR_CONFIG (the port is taken), ERR_CA_NOT_READY. */
  async open(): Promise<void> {
    const { config } = this.#parts
    if (this.#admission === undefined || config.webhook === undefined) return
    this.#opened ??= this.#open(this.#admission, config.webhook)
    try {
      await this.#opened
    } catch (error) {
      this.#opened = undefined
      throw error
    }
  }

  async stop(): Promise<void> {
    const stop = await this.#opened?.catch(() => undefined)
    await stop?.()
  }

  async #open(
    admission: Admission,
    address: { readonly host: string; readonly port: number },
  ): Promise<() => Promise<void>> {
    const { config, entrance } = this.#parts
    const log = this.#parts.log.child({ component: 'webhooks' })
    const issuing = entrance.issuing()
    const dnsNames = dnsNamesOf(config.namespace)
    let server: WebhookServer | undefined
    const serving = await keepServing({ ...issuing, keys: nodeKeys, dnsNames, log }, (renewed) =>
      server?.setCertificate(renewed),
    )
    server = new WebhookServer({
      ...address,
      certificate: serving.first,
      inject: (request) => admission.inject(request),
      validate: (request, signal) => admission.validate(request, signal),
      log,
    })
    await server.start()
    log.info({ host: address.host, port: server.port() }, 'webhooks are served')
    const opened = server
    return async () => {
      serving.stop()
      await opened.stop()
    }
  }
}

function dnsNamesOf(namespace: string): readonly string[] {
  const name = `${SERVICE}.${namespace}.svc`
  return [name, `${name}.cluster.local`]
}

function loadSettings(path: string): InjectionSettings {
  const { version } = JSON.parse(readFileSync(VERSION_FILE, 'utf8')) as { version: string }
  const defaults = defaultSettings(version)
  if (path === '') return defaults
  let value: unknown
  try {
    value = JSON.parse(readFileSync(path, 'utf8'))
  } catch (cause) {
    throw new MeshError('ERR_CONFIG', `--injection ${path} can't be read as JSON`, { cause })
  }
  const read = readSettings(value, defaults)
  if ('settings' in read) return read.settings
  throw new MeshError('ERR_CONFIG', `--injection ${path}: ${read.mistakes.join('; ')}`)
}
