/**
 * A pod's sidecar asking for its SVID as far as the controller sees it: a CSR, and a service-account token as proof.
 */
import { randomBytes } from 'node:crypto'
import { create } from '@bufbuild/protobuf'
import * as grpc from '@grpc/grpc-js'
import { parseCertificate } from '../../common/certificate.ts'
import { toServiceDefinition } from '../../common/grpc-service.ts'
import { Secret } from '../../common/secret.ts'
import {
  AttestRequestSchema,
  type AttestResponse,
  CertificateAuthority,
} from '../../proto/gen/postern/identity/v1alpha1/identity_pb.js'
import { controllerCredentials } from '../../sidecar/adapters/grpc/controller-client.ts'
import type { Svid } from '../../sidecar/ports.ts'
import { makeCsr, makeKey } from './identity.ts'

export interface PodAsks {
  readonly token: string
  /** The SPIFFE id of the CSR. */
  readonly uri?: string
  /** DER; as the ConfigMap has them. */
  readonly roots: readonly Uint8Array[]
  /** Presented as client certificate. */
  readonly svid?: Svid
}

const NAME = { 'grpc.ssl_target_name_override': 'postern-controller' }

/** Rejects with the status that the controller answers. */
export async function attestPod(target: string, asks: PodAsks): Promise<Svid> {
  const { token, uri, roots, svid } = asks
  const credentials =
    svid === undefined
      ? grpc.credentials.createSsl(toPem(roots), null, null, {
          checkServerIdentity: () => undefined,
        })
      : controllerCredentials(svid)
  const client = new grpc.Client(target, credentials, NAME)
  const key = makeKey()
  const request = create(AttestRequestSchema, {
    csr: makeCsr(key, uri === undefined ? {} : { uri }),
    instanceId: randomBytes(16).toString('hex'),
    proof: { case: 'podToken', value: { token } },
  })
  try {
    const answer = await ask(client, request)
    const [leaf = new Uint8Array()] = answer.certificateChain
    const { notBeforeMs, notAfterMs } = parseCertificate(leaf)
    return {
      spiffeId: answer.spiffeId,
      workload: {
        namespace: answer.workloadNamespace,
        name: answer.workloadName,
        uid: answer.workloadUid,
      },
      certificateChain: answer.certificateChain,
      privateKey: new Secret(key.privateKey),
      trustBundle: answer.trustBundle,
      serialNumber: '',
      notBeforeMs,
      notAfterMs,
    }
  } finally {
    client.close()
  }
}

function ask(client: grpc.Client, request: unknown): Promise<AttestResponse> {
  const method = toServiceDefinition(CertificateAuthority).Attest
  if (method === undefined) throw new Error('no such method')
  const { path, requestSerialize, responseDeserialize } = method
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      (error, answer) => (error === null ? resolve(answer as AttestResponse) : reject(error)),
    )
  })
}

function toPem(roots: readonly Uint8Array[]): Buffer {
  const pem = (der: Uint8Array) =>
    `-----BEGIN CERTIFICATE-----\n${Buffer.from(der).toString('base64')}\n-----END CERTIFICATE-----\n`
  return Buffer.from(roots.map(pem).join(''))
}
