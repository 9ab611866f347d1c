/**
 * Two objects of one name: which of them is meant cannot be told, so neither is accepted.
 */
import { formatRef, type Problem, type SourceLocation } from '../../../common/errors.ts'
import type { ManifestDocument } from './document.ts'

/** Adds a problem to every document whose object is named by another, too, and takes its object away. */
export function markDuplicates(documents: readonly ManifestDocument[]): ManifestDocument[] {
  const byName = Map.groupBy(documents, (d) => (d.ref === undefined ? '' : formatRef(d.ref)))
  return documents.map((document) => {
    if (document.ref === undefined) return document
    const same = byName.get(formatRef(document.ref)) ?? []
    if (same.length < 2) return document
    const others = same.filter((d) => d !== document)
    const { object: _, ...rest } = document
    return { ...rest, problems: [...document.problems, toProblem(document, others)] }
  })
}

function toProblem(document: ManifestDocument, others: readonly ManifestDocument[]): Problem {
  const places = others.map((d) => formatPlace(d.source)).join(', ')
  return {
    code: 'ERR_OBJECT_DUPLICATE',
    ...(document.ref && { object: document.ref }),
    field: 'metadata.name',
    message: `the same object is at ${formatPlace(document.source)} and at ${places}`,
    remedy: 'remove all but one of them, or rename them',
    source: document.source,
  }
}

function formatPlace(source: SourceLocation): string {
  return `${source.file}:${source.line ?? 1} (document ${source.document ?? 1})`
}
