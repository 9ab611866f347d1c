/**
 * A protobuf message → the plain value that opa-envoy-plugin's protomap makes of it: JSON names, populated fields only,
 * enums as numbers, 64-bit integers as numbers, bytes as base64, Struct as its value, Timestamp as seconds and nanos.
 * That is not protobuf's JSON mapping, and policies depend on the difference.
 */
import type { DescField, DescMessage, Message } from '@bufbuild/protobuf'
import { exactInteger } from './exact-json.ts'

type Fields = Record<string, unknown>

/** protobuf-es holds a field of these types as its bare value; Go holds the message. */
const WRAPPERS =
  /^google\.protobuf\.(Bool|Bytes|Double|Float|Int32|Int64|String|UInt32|UInt64)Value$/

/** A member of a oneof is populated when it is set, even to zero; other scalars when they are not zero. */
export function protomap(desc: DescMessage, message: Message): Fields {
  const source = message as unknown as Fields
  const result: Fields = {}
  for (const field of desc.fields) {
    const value = populated(field, source)
    if (value !== undefined) result[field.jsonName] = toPlain(field, value)
  }
  return result
}

function populated(field: DescField, source: Fields): unknown {
  if (field.oneof !== undefined) {
    const member = source[field.oneof.localName] as { case?: string; value?: unknown }
    return member.case === field.localName ? member.value : undefined
  }
  const value = source[field.localName]
  if (field.fieldKind === 'list') return (value as unknown[]).length > 0 ? value : undefined
  if (field.fieldKind === 'map') return Object.keys(value as Fields).length > 0 ? value : undefined
  if (field.fieldKind === 'message' || field.presence !== 2) return value
  return isZero(value) ? undefined : value
}

function isZero(value: unknown): boolean {
  return value instanceof Uint8Array ? value.length === 0 : !value
}

function toPlain(field: DescField, value: unknown): unknown {
  switch (field.fieldKind) {
    case 'message':
      return messageToPlain(field.message, value)
    case 'list':
      return (value as unknown[]).map((v) =>
        field.listKind === 'message' ? messageToPlain(field.message, v) : scalarToPlain(v),
      )
    case 'map':
      return Object.fromEntries(
        Object.entries(value as Fields).map(([k, v]) => [
          k,
          field.mapKind === 'message' ? messageToPlain(field.message, v) : scalarToPlain(v),
        ]),
      )
    default:
      return scalarToPlain(value)
  }
}

function messageToPlain(desc: DescMessage, value: unknown): unknown {
  // protobuf-es holds a Struct as the JSON object that it stands for
  if (desc.typeName === 'google.protobuf.Struct') return value
  if (WRAPPERS.test(desc.typeName) && !isMessage(value))
    return isZero(value) ? {} : { value: scalarToPlain(value) }
  return protomap(desc, value as Message)
}

function isMessage(value: unknown): boolean {
  return typeof value === 'object' && value !== null && '$typeName' in value
}

function scalarToPlain(value: unknown): unknown {
  if (typeof value === 'bigint') return exactInteger(value)
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64')
  return value
}
