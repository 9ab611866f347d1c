/**
 * The workload's certificate and key as the SDS secret `default`. In: the SVID. Out: an encoded Secret.
 * The result holds the private key: it goes to Envoy over the Unix socket and nowhere else, never to disk or log.
 * Source: envoy/extensions/transport_sockets/tls/v3/secret.proto.
 */

import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { toPem } from '../../../common/pem.ts'
import { SECRET_SVID, TYPE_URLS, type XdsResource } from '../../../common/xds.ts'
import { toXdsResource } from '../../../common/xds-snapshot.ts'
import { SecretSchema } from '../../../proto/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import type { Svid } from '../../ports.ts'

export function toSvidSecret(svid: Svid): XdsResource {
  const chain = Buffer.from(svid.certificateChain.map(toPem).join(''))
  const key = Buffer.from(svid.privateKey.reveal().export({ format: 'pem', type: 'pkcs8' }))
  const secret = create(SecretSchema, {
    name: SECRET_SVID,
    type: {
      case: 'tlsCertificate',
      value: {
        certificateChain: { specifier: { case: 'inlineBytes', value: chain } },
        privateKey: { specifier: { case: 'inlineBytes', value: key } },
      },
    },
  })
  return toXdsResource(SECRET_SVID, toBinary(SecretSchema, secret))
}

/** Whether a resource may be kept on disk: everything but secrets that could hold a key. */
export function isCacheable(typeUrl: string, resource: XdsResource): boolean {
  if (typeUrl !== TYPE_URLS.secret) return true
  try {
    return fromBinary(SecretSchema, resource.value).type.case === 'validationContext'
  } catch {
    return false
  }
}

/** The roots in the SDS secret `ROOTCA`, DER; empty for anything else. */
export function trustRootsOf(resource: XdsResource): readonly Uint8Array[] {
  const { type } = fromBinary(SecretSchema, resource.value)
  const source = type.case === 'validationContext' ? type.value.trustedCa?.specifier : undefined
  if (source?.case !== 'inlineBytes' && source?.case !== 'inlineString') return []
  const blocks = Buffer.from(source.value)
    .toString()
    .matchAll(/-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----/g)
  return [...blocks].map(([, body]) => new Uint8Array(Buffer.from(body ?? '', 'base64')))
}
