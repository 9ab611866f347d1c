/**
 * What a folder of manifests is made of: documents, each with its object or with what is wrong with it.
 */
import type { ObjectRef, Problem, SourceLocation } from '../../../common/errors.ts'
import type { PosternObject } from './generated/objects.ts'

/** One object of one file, or a document that holds none. */
export interface ManifestDocument {
  /** Absent when the document does not name an object. */
  readonly ref?: ObjectRef
  /** With its defaults. There only when the document has no problem at all. */
  readonly object?: PosternObject
  readonly source: SourceLocation
  readonly problems: readonly Problem[]
}
