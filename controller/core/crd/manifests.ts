/**
 * A folder of manifests to validated objects: what `kubectl apply` of the same files would accept, and for the rest
 * problems that name file, document, object, field and remedy. Pure; the same files give the same answer.
 */
import { Buffer } from 'node:buffer'
import type { ObjectRef, Problem, SourceLocation } from '../../../common/errors.ts'
import { rememberAsked } from '../../../common/remember.ts'
import type { ManifestDocument } from './document.ts'
import { markDuplicates } from './duplicates.ts'
import { type FieldPath, formatPath } from './field-path.ts'
import { type Finding, isRecord } from './finding.ts'
import type { PosternObject } from './generated/objects.ts'
import { identify, refOf } from './identify.ts'
import { hasTransitionRules, validateObject } from './validate.ts'
import { readDocuments, type YamlDocument } from './yaml-document.ts'

/** One file of the manifests folder; `unreadable` says why its text could not be had. */
export type ManifestText =
  | { readonly path: string; readonly text: string }
  | { readonly path: string; readonly unreadable: string }

export interface Manifests {
  /** In the order of the files and of their documents; each item of a List by itself. */
  readonly documents: readonly ManifestDocument[]
  /** Every problem: those of the documents, and of files that could not be read at all. */
  readonly problems: readonly Problem[]
}

export interface ParseOptions {
  /** The accepted object that one of this name replaces: fields that cannot be changed are compared with it. */
  previous?(ref: ObjectRef): PosternObject | undefined
}

const MAX_FILE_BYTES = 1024 * 1024

/** Reads all files. A mistake in one document never hides another document. */
export function parseManifests(
  files: readonly ManifestText[],
  options: ParseOptions = {},
): Manifests {
  const fileProblems: Problem[] = []
  const documents: ManifestDocument[] = []
  const previous = (ref: ObjectRef) => options.previous?.(ref)
  for (const file of files) {
    const refusal = refuseFile(file)
    if (refusal !== undefined) fileProblems.push(refusal)
    else if ('text' in file) documents.push(...parseFile(file, previous))
  }
  const marked = markDuplicates(documents)
  return { documents: marked, problems: [...fileProblems, ...marked.flatMap((d) => d.problems)] }
}

function refuseFile(file: ManifestText): Problem | undefined {
  const source = { file: file.path }
  if ('unreadable' in file) {
    return {
      code: 'ERR_MANIFEST_NOT_READABLE',
      field: '',
      message: `the file cannot be read: ${file.unreadable}`,
      remedy: 'make it readable for the controller, or remove it',
      source,
    }
  }
  const bytes = Buffer.byteLength(file.text)
  if (bytes <= MAX_FILE_BYTES) return undefined
  return {
    code: 'ERR_MANIFEST_TOO_LARGE',
    field: '',
    message: `the file has ${bytes} bytes; at most ${MAX_FILE_BYTES} are read`,
    remedy: 'split it into several files',
    source,
  }
}

type Readable = Extract<ManifestText, { readonly text: string }>
type Previous = (ref: ObjectRef) => PosternObject | undefined

/** A file that is the same value as before is not parsed again. */
const parseFile = rememberAsked((file: Readable, previous: Previous) =>
  parseText(file.path, file.text, previous),
)

function parseText(file: string, text: string, previous: Previous): ManifestDocument[] {
  return readDocuments(text).flatMap((document) => {
    const source = { file, document: document.index, ...document.start }
    if (!document.ok) return [brokenDocument(document, source)]
    return flattenLists(document.value, []).map(({ value, path }) =>
      parseObject(value, previous, (field) => ({
        file,
        document: document.index,
        ...document.locate([...path, ...field]),
      })),
    )
  })
}

function brokenDocument(
  document: Extract<YamlDocument, { ok: false }>,
  source: SourceLocation,
): ManifestDocument {
  const problem: Problem = {
    code: 'ERR_MANIFEST_NOT_YAML',
    field: '',
    message: `not a valid YAML document: ${document.message}`,
    remedy: 'correct the YAML at this place',
    source: { ...source, ...document.at },
  }
  return { source, problems: [problem] }
}

/** The objects of a `kind: List`, which kubectl takes apart too, with the path to each. */
function flattenLists(value: unknown, path: FieldPath): { value: unknown; path: FieldPath }[] {
  if (!isRecord(value) || !isList(value)) return [{ value, path }]
  const items = value.items as readonly unknown[]
  return items.flatMap((item, i) => flattenLists(item, [...path, 'items', i]))
}

function isList(value: Readonly<Record<string, unknown>>): boolean {
  const { kind, apiVersion, items } = value
  if (typeof kind !== 'string' || !Array.isArray(items)) return false
  const ours = typeof apiVersion === 'string' && apiVersion.startsWith('postern.dev/')
  return (kind === 'List' && apiVersion === 'v1') || (ours && kind.endsWith('List'))
}

function parseObject(
  value: unknown,
  previous: Previous,
  locate: (path: FieldPath) => SourceLocation,
): ManifestDocument {
  const source = locate([])
  const ref = refOf(value)
  const named = ref === undefined ? { source } : { ref, source }
  const identity = identify(value)
  if (!identity.ok) {
    return { ...named, problems: identity.findings.map((f) => toProblem(f, ref, locate)) }
  }
  const old = ref && hasTransitionRules(identity.kind) ? previous(ref) : undefined
  const result = validateObject(identity.kind, identity.value, old)
  return result.ok
    ? { ...named, object: result.object, problems: [] }
    : { ...named, problems: result.findings.map((f) => toProblem(f, ref, locate)) }
}

function toProblem(
  { code, path, message, remedy }: Finding,
  ref: ObjectRef | undefined,
  locate: (path: FieldPath) => SourceLocation,
): Problem {
  const object = ref === undefined ? {} : { object: ref }
  return { code, ...object, field: formatPath(path), message, remedy, source: locate(path) }
}
