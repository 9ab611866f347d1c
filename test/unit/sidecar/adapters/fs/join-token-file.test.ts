/** What may lie where a join token is expected. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readJoinTokenFile } from '../../../../../sidecar/adapters/fs/identity-state.ts'
import { tempDir } from '../../../../kit/tempdir.ts'

t.test('a token, or none yet', async (t) => {
  const folder = tempDir(t)
  t.equal(await readJoinTokenFile(join(folder, 'none')), undefined)
  writeFileSync(join(folder, 'token'), ' abc\n')
  t.equal((await readJoinTokenFile(join(folder, 'token')))?.reveal(), 'abc')
})

t.test('neither a pipe nor a folder is waited for', async (t) => {
  const folder = tempDir(t)
  execFileSync('mkfifo', [join(folder, 'pipe')])
  mkdirSync(join(folder, 'folder'))
  for (const name of ['pipe', 'folder']) {
    await t.rejects(readJoinTokenFile(join(folder, name)), { code: 'ERR_CONFIG' }, name)
  }
})
