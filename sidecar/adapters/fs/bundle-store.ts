/**
 * The last good policy bundle as one file of the state directory (0600), replaced atomically.
 * Its revision is the hash of its content, so that damage shows when it is unpacked.
 */
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import writeFileAtomic from 'write-file-atomic'
import { MeshError } from '../../../common/errors.ts'
import { codeOf, isDiskFault } from '../../../host/private-file.ts'
import type { BundleStore } from '../../runtime/bundle-ports.ts'

const FILE = 'policy-bundle.tar.gz'

export class FileBundleStore implements BundleStore {
  readonly #path: string

  /** `stateDir` must exist. */
  constructor(stateDir: string) {
    this.#path = join(stateDir, FILE)
  }

  async load(): Promise<Uint8Array | undefined> {
    try {
      return await readFile(this.#path)
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      const message = `cannot read ${this.#path}; check its owner and mode`
      throw new MeshError('ERR_STATE_CORRUPT', message, { cause })
    }
  }

  /** It was another workload's. */
  async forget(): Promise<void> {
    try {
      await rm(this.#path, { force: true })
    } catch (error) {
      // It is refused at the next start, for its workload is another.
      if (!isDiskFault(error)) throw error
    }
  }

  async save(archive: Uint8Array): Promise<void> {
    try {
      await writeFileAtomic(this.#path, Buffer.from(archive), { mode: 0o600 })
    } catch (cause) {
      throw new MeshError('ERR_STATE_WRITE', `cannot write ${this.#path} (${codeOf(cause)})`, {
        cause,
      })
    }
  }
}
