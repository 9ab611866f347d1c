/**
 * Finds a kind by what users type: kind, plural, singular or short name, in any case.
 */
import { MeshError } from '../common/errors.ts'
import { KINDS, type KindInfo } from '../controller/core/crd/index.ts'

/** Every kind, with its short name. */
export function listKinds(): string {
  const names = KINDS.map((k) =>
    k.shortNames[0] === undefined ? k.plural : `${k.plural} (${k.shortNames[0]})`,
  )
  return names.join(', ')
}

/** Errors: ERR_CONFIG with the list of kinds. */
export function findKind(text: string): KindInfo {
  const wanted = text.toLowerCase()
  const found = KINDS.find((k) =>
    [k.kind.toLowerCase(), k.plural, k.singular, ...k.shortNames].includes(wanted),
  )
  if (found === undefined) {
    throw new MeshError(
      'ERR_CONFIG',
      `${text} is no kind of postern.dev; there are ${listKinds()}; and all, problems`,
    )
  }
  return found
}

/** ` in namespace shop`, for sentences; empty for kinds without. */
export function placeOf(kind: KindInfo, namespace: string): string {
  return kind.namespaced ? ` in namespace ${namespace}` : ''
}

/** Path of a list or an object in the controller's admin API. */
export function apiPath(kind: KindInfo, namespace: string | undefined, name?: string): string {
  const inNamespace =
    kind.namespaced && namespace !== undefined ? `namespaces/${encodeURIComponent(namespace)}/` : ''
  const object = name === undefined ? '' : `/${encodeURIComponent(name)}`
  return `/apis/postern.dev/v1alpha1/${inNamespace}${kind.plural}${object}`
}
