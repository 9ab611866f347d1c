/**
 * What the controller needs of the disk before it starts: a state directory of its own, manifests, an opa that runs.
 * In: its configuration. Out: all is there, or ERR_CONFIG that names every mistake. A controller that has served before
 * starts all the same with its last good, whatever became of manifests and opa (DESIGN §1.3).
 */
import { constants } from 'node:fs'
import { access, realpath, rm, stat } from 'node:fs/promises'
import { join, relative, sep } from 'node:path'
import { MeshError } from '../common/errors.ts'
import { preparePrivateDir } from '../host/private-dir.ts'
import { isIgnoredName } from './adapters/files/scan.ts'
import { hasGeneration } from './adapters/state/generation-store.ts'
import type { Config } from './config.ts'

/** `manifests` empty: the objects are in no folder. */
type Places = Pick<Config, 'manifests' | 'state' | 'opa'>

/** Makes the state directory. Keys lie there, and whoever opens its admin socket makes tokens: ours only, 0700. */
export async function preparePlaces(places: Places): Promise<void> {
  await preparePrivateDir(places.state)
  const mistakes = [await findOverlap(places)]
  // A typo must not pass for an empty mesh.
  if (!(await hasGeneration(places.state)))
    mistakes.push(await findNoFolder(places.manifests), await findNoProgram(places.opa))
  const found = mistakes.filter((mistake) => mistake !== undefined)
  if (found.length > 0) throw new MeshError('ERR_CONFIG', found.join('\n'))
}

/** What a dead process left there; call it once the directory is locked. */
export async function clearTemp(state: string): Promise<void> {
  await rm(join(state, 'tmp'), { recursive: true, force: true })
}

/**
 * What to do when the authority is there and no accepted generation is, or undefined: workloads get new UIDs then, and no
 * sidecar's credential is good any more. Nothing is said of a state directory that is new.
 */
export async function findLostGenerations(state: string): Promise<string | undefined> {
  const hasAuthority = await stat(join(state, 'ca')).then(
    () => true,
    () => false,
  )
  if (!hasAuthority || (await hasGeneration(state))) return undefined
  return 'restore generations/ from a backup, or make a new join token for every workload: their UIDs are new ones'
}

/** State among the manifests would be read as manifests, at each of its own writes. */
async function findOverlap({ manifests, state }: Places): Promise<string | undefined> {
  if (manifests === '') return undefined
  const folder = await realpath(manifests).catch(() => manifests)
  const below = relative(folder, await realpath(state)).split(sep)
  const isOutside = below[0] === '..'
  if (isOutside || below.some((name) => name !== '' && isIgnoredName(name))) return undefined
  return `--state ${state}: it lies in the folder of --manifests, which is read with all that is below; put it elsewhere, or give it a name that starts with a dot`
}

async function findNoFolder(path: string): Promise<string | undefined> {
  if (path === '') return undefined
  const found = await stat(path).catch(() => undefined)
  if (found?.isDirectory() === true) return undefined
  const why = found === undefined ? 'there is no such folder' : 'it is no folder'
  return `--manifests ${path}: ${why}; make it, or name another`
}

async function findNoProgram(path: string): Promise<string | undefined> {
  const isFile = await stat(path).then(
    (found) => found.isFile(),
    () => false,
  )
  const isProgram = await access(path, constants.X_OK).then(
    () => isFile,
    () => false,
  )
  return isProgram
    ? undefined
    : `--opa ${path}: there is no program that can be run; run \`make tools\`, or name one`
}
