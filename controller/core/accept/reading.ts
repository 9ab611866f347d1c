/**
 * From files to a reading. In: the folder's files and what is in force. Out: candidates and problems.
 * An empty folder, or an empty file that had objects, is taken for a lost mount or a save under way, not for deletion.
 */
import { formatRef, type Problem } from '../../../common/errors.ts'
import { remember } from '../../../common/remember.ts'
import type { ManifestDocument } from '../crd/document.ts'
import { parseManifests } from '../crd/manifests.ts'
import { locateIn } from './locate.ts'
import type { AcceptedState, Candidate, Reading } from './objects.ts'

/** The same shape as the runtime's port; core doesn't import runtime. */
export type File =
  | { readonly path: string; readonly text: string }
  | { readonly path: string; readonly unreadable: string }

/**
 * A path that is empty, or ends in `/`, stands for everything below it; problems call the folder itself `./`.
 * `isExact`: what is empty is empty.
 */
export function readManifests(
  files: readonly File[],
  state: AcceptedState,
  isExact = false,
): Reading {
  const hadObjects = new Set([...state.accepted.values()].map((a) => a.source.file))
  const problems: Problem[] = []
  if (!isExact && files.length === 0 && hadObjects.size > 0)
    problems.push(notReadable('', 'it has no manifests'))
  const readable = new Map<string, Extract<File, { text: string }>>()
  for (const file of files) {
    const why = whyUnreadable(file, hadObjects)
    if (why !== undefined) problems.push(notReadable(file.path, why))
    else if ('text' in file) readable.set(file.path, file)
  }
  const parsed = parseManifests([...readable.values()], {
    previous: (ref) => state.accepted.get(formatRef(ref))?.object,
  })
  const candidates = parsed.documents.flatMap((document) => {
    const candidate = toCandidate(document, readable.get(document.source.file)?.text ?? '')
    return candidate === undefined ? [] : [candidate]
  })
  return { candidates, problems: [...problems, ...parsed.problems] }
}

const toCandidate = remember(
  ({ object, source }: ManifestDocument, text: string): Candidate | undefined =>
    object === undefined ? undefined : { object, source, locate: locateIn(text, source) },
)

function whyUnreadable(file: File, hadObjects: ReadonlySet<string>): string | undefined {
  if ('unreadable' in file) return file.unreadable
  return file.text.trim() === '' && hadObjects.has(file.path) ? 'it is empty' : undefined
}

function notReadable(path: string, why: string): Problem {
  const what = path === '' ? 'the manifests folder' : path.endsWith('/') ? 'the folder' : 'the file'
  return {
    code: 'ERR_MANIFEST_NOT_READABLE',
    field: '',
    message: `${what} can't be used: ${why}; its objects stay as they were`,
    remedy:
      why === 'it is empty'
        ? 'delete the file to remove its objects, or write them again'
        : 'make it readable again; delete single files to remove their objects',
    source: { file: path === '' ? './' : path },
  }
}
