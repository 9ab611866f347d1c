/**
 * An object of Postern's kinds, before it is stored: the API server's own checks have passed; this adds what needs the
 * world, with the eyes of the controller itself. In: the object, all others, the cluster. Out: what would be refused is refused
 * here, with field and remedy; what is only waiting for another object, or hardly meant, is a warning.
 */
import { type ErrorCode, formatRef, type ObjectRef } from '../../../common/errors.ts'
import type { File } from '../accept/reading.ts'
import { analyze, type World } from '../analyze/analyze.ts'
import type { LintFinding } from '../analyze/finding.ts'
import type { AdmissionRequest, Verdict } from './review.ts'

/** May become right when another object comes: order of `kubectl apply` is nobody's fault. */
const LATER: ReadonlySet<string> = new Set<ErrorCode>([
  'ERR_REFERENCE_NOT_FOUND',
  'ERR_TARGET_SELECTS_NOTHING',
  'ERR_MESH_MISSING',
])

/** The file by which a source would give the object: `path` as it names it, `text` without what others write. */
export function toFile({ kind, namespace, object = {} }: AdmissionRequest): File {
  const { name, uid, generation, creationTimestamp, labels } = (object.metadata ?? {}) as Record<
    string,
    unknown
  >
  const place = namespace === '' ? {} : { namespace }
  const metadata = { name, ...place, labels, uid, generation, creationTimestamp }
  const manifest = { apiVersion: 'postern.dev/v1alpha1', kind, metadata, spec: object.spec }
  return {
    path: [kind, ...(namespace === '' ? [] : [namespace]), name].join('/'),
    text: JSON.stringify(manifest, null, 2),
  }
}

/** `others` are the files of the source as it is; one of the same path is the object as it was. */
export function reviewObject(
  request: AdmissionRequest,
  others: readonly File[],
  world: World,
): Verdict {
  const file = toFile(request)
  const all = [...others.filter(({ path }) => path !== file.path), file]
  const key = formatRef(refOf(request))
  const own = analyze(all, world).filter(
    ({ object, source }) =>
      source?.file === file.path || (object !== undefined && formatRef(object) === key),
  )
  const errors = own.filter(isRefused)
  const warnings = own
    .filter((f) => !isRefused(f) && f.severity !== 'info')
    .map((f) => `${f.code} ${sentence(f)}`)
  if (errors.length === 0) return { allowed: true, warnings }
  // kubectl shows the causes, and not the message.
  const causes = errors.map((f) => ({
    field: f.field,
    message: `${f.message}; ${f.remedy} [${f.code}]`,
  }))
  const message = errors.map((f) => `${sentence(f)} [${f.code}]`).join('\n')
  return { allowed: false, message, causes, warnings }
}

function refOf({ kind, namespace, object = {} }: AdmissionRequest): ObjectRef {
  const { name } = (object.metadata ?? {}) as { name: string }
  return namespace === '' ? { kind, name } : { kind, namespace, name }
}

function isRefused({ code, severity }: LintFinding): boolean {
  return severity === 'error' && code.startsWith('ERR_') && !LATER.has(code)
}

function sentence({ field, message, remedy }: LintFinding): string {
  return `${field === '' ? '' : `${field}: `}${message}; ${remedy}`
}
