/**
 * The trust bundle as the SDS secret `ROOTCA`. The workload's own certificate and key (`default`) never pass the
 * controller: the sidecar adds them (DESIGN §1.2).
 */

import { strict as assert } from 'node:assert'
import { Buffer } from 'node:buffer'
import { create } from '@bufbuild/protobuf'
import { toPem } from '../../../common/pem.ts'
import { SECRET_TRUST_BUNDLE } from '../../../common/xds.ts'
import {
  type Secret,
  SecretSchema,
} from '../../../proto/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'

/** `trustBundle` holds DER roots; order and repetition make no difference. Empty would trust anyone, so it is a bug. */
export function buildTrustBundleSecret(trustBundle: readonly Uint8Array[]): Secret {
  assert(trustBundle.length > 0, 'a trust bundle has at least one root')
  const pems = new Set(trustBundle.map(toPem))
  const inlineBytes = Buffer.from([...pems].sort().join(''))
  return create(SecretSchema, {
    name: SECRET_TRUST_BUNDLE,
    type: {
      case: 'validationContext',
      value: { trustedCa: { specifier: { case: 'inlineBytes', value: inlineBytes } } },
    },
  })
}
