/**
 * The part of a CustomResourceDefinition that Postern's own CRDs use: schema, names, printer columns.
 * The generator refuses any other keyword, so that standalone never skips what an API server would check.
 * Source: apiextensions.k8s.io/v1 JSONSchemaProps; KEP-2335 (structural schemas).
 */

export type Json =
  | null
  | boolean
  | number
  | string
  | readonly Json[]
  | { readonly [key: string]: Json }
export type JsonObject = { readonly [key: string]: Json }

/** A CEL rule. Without `fieldPath` it speaks of the node that it stands at. */
export interface CelRule {
  readonly rule: string
  readonly message: string
  /** Path below the node, such as `.mtls.mode`. */
  readonly fieldPath?: string
}

export interface Schema {
  readonly type?: 'object' | 'array' | 'string' | 'integer' | 'number' | 'boolean'
  readonly description?: string
  readonly format?: 'int32' | 'int64' | 'date-time'
  readonly default?: Json
  readonly enum?: readonly Json[]
  readonly pattern?: string
  readonly minLength?: number
  readonly maxLength?: number
  readonly minimum?: number
  readonly maximum?: number
  readonly minItems?: number
  readonly maxItems?: number
  readonly minProperties?: number
  readonly maxProperties?: number
  readonly required?: readonly string[]
  readonly properties?: Readonly<Record<string, Schema>>
  readonly additionalProperties?: Schema
  readonly items?: Schema
  readonly allOf?: readonly Schema[]
  readonly anyOf?: readonly Schema[]
  readonly not?: Schema
  readonly 'x-kubernetes-int-or-string'?: true
  readonly 'x-kubernetes-preserve-unknown-fields'?: true
  readonly 'x-kubernetes-list-type'?: 'map' | 'set' | 'atomic'
  readonly 'x-kubernetes-list-map-keys'?: readonly string[]
  readonly 'x-kubernetes-validations'?: readonly CelRule[]
}

/** A column of `kubectl get` and `postern get`. */
export interface PrinterColumn {
  readonly name: string
  readonly type: string
  readonly jsonPath: string
  readonly description?: string
  /** Above 0: only in the wide form. Default: 0. */
  readonly priority?: number
}

export interface KindInfo {
  readonly kind: string
  readonly plural: string
  readonly singular: string
  readonly shortNames: readonly string[]
  readonly namespaced: boolean
  readonly printerColumns: readonly PrinterColumn[]
}
