/**
 * Reads one CustomResourceDefinition into what the generators need, and refuses keywords that
 * controller/core/crd does not implement: a check that only the API server makes would be a silent difference.
 */
import type { KindInfo, PrinterColumn, Schema } from '../../controller/core/crd/schema.ts'

export interface Crd {
  readonly file: string
  readonly info: KindInfo
  readonly schema: Schema
}

interface CrdYaml {
  readonly spec: {
    readonly group: string
    readonly scope: 'Cluster' | 'Namespaced'
    readonly names: {
      readonly kind: string
      readonly plural: string
      readonly singular: string
      readonly shortNames: readonly string[]
    }
    readonly versions: readonly {
      readonly name: string
      readonly additionalPrinterColumns: readonly PrinterColumn[]
      readonly schema: { readonly openAPIV3Schema: Schema }
    }[]
  }
}

const KEYWORDS = new Set([
  'type',
  'description',
  'format',
  'default',
  'enum',
  'pattern',
  'minLength',
  'maxLength',
  'minimum',
  'maximum',
  'minItems',
  'maxItems',
  'minProperties',
  'maxProperties',
  'required',
  'properties',
  'additionalProperties',
  'items',
  'allOf',
  'anyOf',
  'not',
  'x-kubernetes-int-or-string',
  'x-kubernetes-preserve-unknown-fields',
  'x-kubernetes-list-type',
  'x-kubernetes-list-map-keys',
  'x-kubernetes-validations',
])
const RULE_KEYWORDS = new Set(['rule', 'message', 'fieldPath'])

/** `document` is the parsed YAML of `crds/<file>`. Throws on a CRD that standalone could not check alike. */
export function readCrd(file: string, document: unknown): Crd {
  const { spec } = document as CrdYaml
  const version = spec.versions[0]
  if (spec.versions.length !== 1 || version?.name !== 'v1alpha1' || spec.group !== 'postern.dev') {
    throw new Error(`${file}: must have one version, v1alpha1, in group postern.dev`)
  }
  checkSchema(version.schema.openAPIV3Schema, `${file}: openAPIV3Schema`)
  const { kind, plural, singular, shortNames } = spec.names
  return {
    file,
    info: {
      kind,
      plural,
      singular,
      shortNames,
      namespaced: spec.scope === 'Namespaced',
      printerColumns: version.additionalPrinterColumns,
    },
    schema: version.schema.openAPIV3Schema,
  }
}

function checkSchema(schema: Schema, path: string): void {
  checkKeys(schema, KEYWORDS, path)
  for (const rule of schema['x-kubernetes-validations'] ?? []) checkKeys(rule, RULE_KEYWORDS, path)
  for (const [name, child] of Object.entries(schema.properties ?? {})) {
    if (child.description === undefined && name !== 'metadata') {
      throw new Error(`${path}.${name}: has no description`)
    }
    checkSchema(child, `${path}.${name}`)
  }
  if (schema.additionalProperties) checkSchema(schema.additionalProperties, `${path}.*`)
  if (schema.items) checkSchema(schema.items, `${path}[]`)
}

function checkKeys(value: object, known: ReadonlySet<string>, path: string): void {
  for (const key of Object.keys(value)) {
    if (!known.has(key)) throw new Error(`${path}: keyword ${key} is not implemented`)
  }
}
