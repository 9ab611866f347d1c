/**
 * The last good xDS resources in one file of the state directory, so that Envoy restarts without a controller.
 * In: resources that Envoy ACKed. Out: the same after a restart. Written atomically (0600); what does not prove whole
 * is moved aside and said so. Private keys never come here (core/xds/svid-secret.ts).
 */
import { readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import writeFileAtomic from 'write-file-atomic'
import { MeshError } from '../../../common/errors.ts'
import { codeOf } from '../../../host/private-file.ts'
import { type CacheRead, fromCacheText, toCacheText } from '../../core/xds/cache-format.ts'
import type { Resources } from '../../core/xds/store.ts'
import type { Log, XdsCache } from '../../runtime/xds-ports.ts'

const FILE = 'xds-cache'

export class FileXdsCache implements XdsCache {
  readonly #path: string
  readonly #log: Log

  /** `stateDir` must exist. */
  constructor(stateDir: string, log: Log) {
    this.#path = join(stateDir, FILE)
    this.#log = log
  }

  async read(nodeId: string): Promise<Resources> {
    const read = await this.#read(nodeId)
    if (read === undefined) return new Map()
    if (read.ok) return read.resources
    const fields = { code: 'ERR_STATE_CORRUPT', file: this.#path, reason: read.reason }
    // A disk that takes no rename is no reason not to start: the controller has it all.
    const isMoved = await rename(this.#path, `${this.#path}.bad`).then(
      () => true,
      () => false,
    )
    this.#log.warn(fields, `xds cache not used; it ${isMoved ? 'was' : 'could not be'} moved aside`)
    return new Map()
  }

  /** Undefined: there is none. */
  async #read(nodeId: string): Promise<CacheRead | undefined> {
    try {
      return fromCacheText(nodeId, await readFile(this.#path, 'utf8'))
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      return code === 'ENOENT' ? undefined : { ok: false, reason: `cannot be read (${code})` }
    }
  }

  async write(nodeId: string, resources: Resources): Promise<void> {
    try {
      await writeFileAtomic(this.#path, toCacheText(nodeId, resources), { mode: 0o600 })
    } catch (cause) {
      const message = `cannot write ${this.#path} (${codeOf(cause)})`
      throw new MeshError('ERR_STATE_WRITE', message, { retry: 'backoff', cause })
    }
  }
}
