/**
 * The last good xDS resources in one file of the state directory, so that Envoy restarts without a controller.
 * In: resources that Envoy ACKed. Out: the same after a restart. Written atomically (0600); what does not prove whole
 * is moved aside and said so. Private keys never come here (core/xds/svid-secret.ts).
 */
import { readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import writeFileAtomic from 'write-file-atomic'
import { MeshError } from '../../../common/errors.ts'
import { fromCacheText, toCacheText } from '../../core/xds/cache-format.ts'
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
    const text = await readFile(this.#path, 'utf8').catch((cause: NodeJS.ErrnoException) => {
      if (cause.code === 'ENOENT') return undefined
      const message = `cannot read ${this.#path}; check its owner and mode`
      throw new MeshError('ERR_STATE_CORRUPT', message, { cause })
    })
    if (text === undefined) return new Map()
    const read = fromCacheText(nodeId, text)
    if (read.ok) return read.resources
    await rename(this.#path, `${this.#path}.bad`)
    const fields = { code: 'ERR_STATE_CORRUPT', file: this.#path, reason: read.reason }
    this.#log.warn(fields, 'xds cache not used; it was moved aside')
    return new Map()
  }

  async write(nodeId: string, resources: Resources): Promise<void> {
    await writeFileAtomic(this.#path, toCacheText(nodeId, resources), { mode: 0o600 })
  }
}
