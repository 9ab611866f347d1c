/**
 * The compilation unit of one AuthorizationPolicy (DESIGN §4): its own module, the libraries that it names, its data.
 * In: the policy and the PolicyLibraries of its namespace. Out: a RegoUnit whose digest names the result, or Problems.
 * Nothing of another policy ever enters it.
 */
import { createHash } from 'node:crypto'
import type { ObjectRef, Problem } from '../../../common/errors.ts'
import { mergeData } from './data.ts'

export interface RegoModule {
  readonly name: string
  readonly text: string
}

/** The same shape as the runtime's port; core doesn't import runtime. */
export interface Unit {
  readonly digest: string
  readonly entrypoint: string
  readonly regoVersion: 'V0' | 'V1'
  readonly modules: readonly RegoModule[]
}

/** What of a policy goes in. */
export interface RegoPolicyObject {
  readonly metadata: { readonly namespace?: string | undefined; readonly name: string }
  readonly spec: {
    readonly rego?:
      | {
          readonly module?: string | undefined
          readonly libraryRef?: { readonly name: string } | undefined
          readonly entrypoint?: string | undefined
          readonly regoVersion?: 'V0' | 'V1' | undefined
          readonly libraries?: readonly { readonly name: string }[] | undefined
        }
      | undefined
  }
}

export interface RegoLibraryObject {
  readonly metadata: { readonly namespace?: string | undefined; readonly name: string }
  readonly spec: {
    readonly modules?: readonly { readonly name: string; readonly rego: string }[] | undefined
    readonly data?: unknown
  }
}

/** Where the user finds a module: an object and a field in it. */
export interface ModuleOrigin {
  readonly object: ObjectRef
  readonly field: string
}

export interface ResolvedRego {
  readonly unit: Unit
  /** Base document: the libraries' data, merged. */
  readonly data: unknown
  /** By module name. */
  readonly origins: ReadonlyMap<string, ModuleOrigin>
}

export type RegoResolution =
  | ({ readonly ok: true } & ResolvedRego)
  | { readonly ok: false; readonly problems: readonly Problem[] }

const DEFAULT_ENTRYPOINT = 'envoy/authz/allow'

interface Used {
  readonly library: RegoLibraryObject
  readonly field: string
}

/**
 * `policy` has `spec.rego`; `findLibrary` looks in its namespace.
 * Errors: ERR_REFERENCE_NOT_FOUND, ERR_FIELD_VALUE (two libraries' data differ at one path).
 */
export function resolveRego(
  policy: RegoPolicyObject,
  findLibrary: (name: string) => RegoLibraryObject | undefined,
): RegoResolution {
  const ref = refOf('AuthorizationPolicy', policy)
  const rego = policy.spec.rego ?? {}
  const { used, problems } = findLibraries(rego, ref, findLibrary)
  const origins = new Map<string, ModuleOrigin>()
  const modules: RegoModule[] = []
  const add = (wanted: string, text: string, origin: ModuleOrigin) => {
    const name = freeName(wanted, origins)
    origins.set(name, origin)
    modules.push({ name, text })
  }
  if (rego.module !== undefined) {
    add('policy.rego', rego.module, { object: ref, field: 'spec.rego.module' })
  }
  for (const { library } of used) {
    const object = refOf('PolicyLibrary', library)
    for (const [i, module] of (library.spec.modules ?? []).entries()) {
      const name = `library/${library.metadata.name}/${module.name}`
      add(name, module.rego, { object, field: `spec.modules[${i}].rego` })
    }
  }
  const merged = mergeData(used.map((u) => u.library.spec.data ?? {}))
  if (!merged.ok) {
    problems.push(dataConflict(ref, used[merged.index]?.field ?? 'spec.rego', merged.path))
    return { ok: false, problems }
  }
  if (problems.length === 0 && modules.length === 0) problems.push(noModules(ref))
  if (problems.length > 0) return { ok: false, problems }
  return { ok: true, unit: toUnit(rego, modules), data: merged.data, origins }
}

function findLibraries(
  rego: NonNullable<RegoPolicyObject['spec']['rego']>,
  ref: ObjectRef,
  findLibrary: (name: string) => RegoLibraryObject | undefined,
): { used: Used[]; problems: Problem[] } {
  const wanted = [
    ...(rego.libraryRef === undefined
      ? []
      : [{ name: rego.libraryRef.name, field: 'spec.rego.libraryRef.name' }]),
    ...(rego.libraries ?? []).map(({ name }, i) => ({
      name,
      field: `spec.rego.libraries[${i}].name`,
    })),
  ]
  const used = new Map<string, Used>()
  const problems: Problem[] = []
  for (const { name, field } of wanted) {
    const library = findLibrary(name)
    if (library === undefined) problems.push(libraryMissing(ref, field, name))
    else if (!used.has(name)) used.set(name, { library, field })
  }
  return { used: [...used.values()], problems }
}

function toUnit(
  rego: NonNullable<RegoPolicyObject['spec']['rego']>,
  modules: readonly RegoModule[],
): Unit {
  const content = {
    entrypoint: rego.entrypoint ?? DEFAULT_ENTRYPOINT,
    regoVersion: rego.regoVersion ?? ('V1' as const),
    modules: [...modules].sort((a, b) => (a.name < b.name ? -1 : 1)),
  }
  const parts = [
    content.entrypoint,
    content.regoVersion,
    content.modules.map((m) => [m.name, m.text]),
  ]
  return { digest: createHash('sha256').update(JSON.stringify(parts)).digest('hex'), ...content }
}

/** `wanted` with `.rego` at its end, and a number when that is taken (`a` and `a.rego` in one library). */
function freeName(wanted: string, taken: ReadonlyMap<string, unknown>): string {
  const stem = wanted.replace(/\.rego$/, '')
  let name = `${stem}.rego`
  for (let i = 2; taken.has(name); i++) name = `${stem}-${i}.rego`
  return name
}

function refOf(kind: string, object: RegoPolicyObject | RegoLibraryObject): ObjectRef {
  const { namespace, name } = object.metadata
  return namespace === undefined ? { kind, name } : { kind, namespace, name }
}

function libraryMissing(object: ObjectRef, field: string, name: string): Problem {
  return {
    code: 'ERR_REFERENCE_NOT_FOUND',
    object,
    field,
    message: `there is no accepted PolicyLibrary "${name}" in namespace "${object.namespace ?? ''}"`,
    remedy: `add the PolicyLibrary "${name}", mend it, or name another`,
  }
}

function noModules(object: ObjectRef): Problem {
  return {
    code: 'ERR_REGO_COMPILE',
    object,
    field: 'spec.rego',
    message: 'the libraries that it names have no modules',
    remedy: 'give spec.rego.module, or a library that has modules',
  }
}

function dataConflict(object: ObjectRef, field: string, path: string): Problem {
  return {
    code: 'ERR_FIELD_VALUE',
    object,
    field,
    message: `two of its libraries have different data at data.${path}`,
    remedy: 'give the data of the libraries different names',
  }
}

export function dataHidden(object: ObjectRef, path: string): Problem {
  return {
    code: 'ERR_FIELD_VALUE',
    object,
    field: 'spec.rego',
    message: `data.${path} is both a rule of its modules and data of its libraries`,
    remedy: 'give the data another name, or the module another package',
  }
}
