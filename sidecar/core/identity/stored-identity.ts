/**
 * What a sidecar keeps of its identity between starts, as a value and as text (JSON). The SVID's key is not in it.
 * A text that is not exactly that throws ERR_STATE_CORRUPT.
 */
import { createHash } from 'node:crypto'
import { MeshError } from '../../../common/errors.ts'
import { Secret } from '../../../common/secret.ts'

export interface JoinedIdentity {
  readonly workload: { readonly namespace: string; readonly name: string; readonly uid: string }
  readonly spiffeId: string
  readonly trustDomain: string
  /** DER. */
  readonly trustBundle: readonly Uint8Array[]
  /** The newest re-attestation certificate, DER. */
  readonly credential: Uint8Array
  /** PKCS#8, PEM. */
  readonly credentialKey: Secret<string>
  /** The join token that it came from: a spent token is not tried again. */
  readonly tokenId: string
}

export interface StoredIdentity {
  readonly joined?: JoinedIdentity
  /** A join that was begun: the same key must finish it when the answer was lost. */
  readonly pending?: { readonly tokenId: string; readonly credentialKey: Secret<string> }
}

const VERSION = 1

export function formatIdentity(identity: StoredIdentity): Secret<string> {
  const { joined, pending } = identity
  const document = {
    version: VERSION,
    ...(joined && {
      joined: {
        ...joined,
        trustBundle: joined.trustBundle.map(toBase64),
        credential: toBase64(joined.credential),
        credentialKey: joined.credentialKey.reveal(),
      },
    }),
    ...(pending && {
      pending: { tokenId: pending.tokenId, credentialKey: pending.credentialKey.reveal() },
    }),
  }
  const whole = { ...document, digest: digestOf(document) }
  return new Secret(`${JSON.stringify(whole, undefined, 1)}\n`)
}

export function parseIdentity(text: Secret<string>): StoredIdentity {
  let document: Fields
  try {
    document = asFields(JSON.parse(text.reveal()))
  } catch {
    // No cause: a syntax error quotes what it read.
    throw corrupt()
  }
  if (document.version !== VERSION || !isWhole(document)) throw corrupt()
  const { joined, pending } = document
  return {
    ...(joined === undefined ? {} : { joined: readJoined(asFields(joined)) }),
    ...(pending === undefined ? {} : { pending: readPending(asFields(pending)) }),
  }
}

/** Without a digest it is 0.1's. */
function isWhole({ digest, ...rest }: Fields): boolean {
  return digest === undefined || digest === digestOf(rest)
}

/** Over the fields in their order: a text that was read has the order that it was written in. */
function digestOf(document: object): string {
  return `sha256:${createHash('sha256').update(JSON.stringify(document)).digest('hex')}`
}

interface Fields {
  readonly [name: string]: unknown
}

function readJoined(fields: Fields): JoinedIdentity {
  const { trustBundle } = fields
  const workload = asFields(fields.workload)
  if (!Array.isArray(trustBundle) || trustBundle.length === 0) throw corrupt()
  return {
    workload: {
      namespace: asText(workload.namespace),
      name: asText(workload.name),
      uid: asText(workload.uid),
    },
    spiffeId: asText(fields.spiffeId),
    trustDomain: asText(fields.trustDomain),
    trustBundle: trustBundle.map(fromBase64),
    credential: fromBase64(fields.credential),
    credentialKey: new Secret(asText(fields.credentialKey)),
    tokenId: asText(fields.tokenId),
  }
}

function readPending(fields: Fields): NonNullable<StoredIdentity['pending']> {
  const credentialKey = new Secret(asText(fields.credentialKey))
  return { tokenId: asText(fields.tokenId), credentialKey }
}

function asFields(value: unknown): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw corrupt()
  return value as Fields
}

function asText(value: unknown): string {
  if (typeof value !== 'string' || value === '') throw corrupt()
  return value
}

function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64')
}

function fromBase64(value: unknown): Uint8Array {
  const bytes = Buffer.from(asText(value), 'base64')
  if (bytes.toString('base64') !== value) throw corrupt()
  return new Uint8Array(bytes)
}

function corrupt(): MeshError {
  const remedy = 'restore it, or remove it and supply a new join token'
  return new MeshError(
    'ERR_STATE_CORRUPT',
    `identity.json in the state folder is damaged; ${remedy}`,
  )
}
