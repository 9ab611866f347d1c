/**
 * The API contract as values: kinds, types, and the way from text to validated objects.
 */

export type { ManifestDocument } from './document.ts'
export type * from './generated/authorizationpolicies.ts'
export type * from './generated/backendtrafficpolicies.ts'
export type * from './generated/certificateauthorities.ts'
export type * from './generated/meshes.ts'
export type { Kind, ObjectOfKind, PosternObject } from './generated/objects.ts'
export type * from './generated/peerauthentications.ts'
export type * from './generated/policylibraries.ts'
// biome-ignore lint/performance/noBarrelFile: the one barrel that STYLE §5 allows
export { KINDS } from './generated/schemas.ts'
export type * from './generated/workloadentries.ts'
export {
  type Manifests,
  type ManifestText,
  type ParseOptions,
  parseManifests,
} from './manifests.ts'
export type { Condition, ObjectMeta } from './object-meta.ts'
export type { KindInfo, PrinterColumn } from './schema.ts'
export { readStored } from './validate.ts'
export {
  type Parsed,
  parseHeaderValue,
  parseHost,
  parseIpBlock,
  parseMethod,
  parseNamespace,
  parsePath,
  parsePort,
  parsePrincipal,
  parseWhenKey,
  type WhenKey,
} from './values.ts'
