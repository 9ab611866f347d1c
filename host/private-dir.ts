/** A directory that only we can enter. In: its path. Out: it is there, ours, 0700; or ERR_CONFIG that says what is wrong. */
import { mkdir, stat } from 'node:fs/promises'
import { MeshError } from '../common/errors.ts'

/** Others on the machine must neither read what lies there nor reach the sockets in it. */
export async function preparePrivateDir(dir: string): Promise<void> {
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 })
    const { mode, uid } = await stat(dir)
    if (uid !== process.getuid?.()) throw new Error('it belongs to another user')
    if ((mode & 0o077) !== 0) throw new Error('it is open to other users; chmod 700 it')
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new MeshError('ERR_CONFIG', `the directory ${dir} cannot be used: ${reason}`, { cause })
  }
}
