/** The gRPC face: status codes, bounds, and no word too many. The wire itself is in test/integration/identity.test.ts. */
import { create } from '@bufbuild/protobuf'
import * as grpc from '@grpc/grpc-js'
import t from 'tap'
import { csrBinding, reattestationPayload } from '../../../../../common/attestation.ts'
import { MeshError, type MeshErrorCode } from '../../../../../common/errors.ts'
import { createCsrService, toStatus } from '../../../../../controller/adapters/grpc/csr-server.ts'
import {
  AttestRequestSchema,
  type AttestResponse,
  type ChallengeResponse,
} from '../../../../../proto/gen/postern/identity/v1alpha1/identity_pb.js'
import { makeCsr, makeKey } from '../../../../kit/identity.ts'
import { makeController, silentLog } from '../../../../kit/identity-controller.ts'

type Fields = Parameters<typeof create<typeof AttestRequestSchema>>[1]

async function makeService(peerOf: () => { workloadUid: string } | undefined = () => undefined) {
  const controller = await makeController()
  const { implementation } = createCsrService({
    attestation: controller.identity.attestation,
    peerOf,
    clock: controller.clock,
    log: silentLog,
  })
  const call = <R>(method: string, request: unknown, peer: string) =>
    new Promise<{ error: grpc.ServiceError | null; response: R | undefined }>((resolve) => {
      const handler = implementation[method] as grpc.handleUnaryCall<unknown, R>
      const unary = { request, getPeer: () => peer, cancelled: false }
      handler(unary as never, (error, response) =>
        resolve({ error: error as grpc.ServiceError | null, response: response ?? undefined }),
      )
    })
  const attest = (fields: Fields, peer = '127.0.0.1:1') =>
    call<AttestResponse>('Attest', create(AttestRequestSchema, fields), peer)
  return { controller, call, attest }
}

t.test('gives a nonce to anybody', async (t) => {
  const { call } = await makeService()
  const { response } = await call<ChallengeResponse>('Challenge', {}, '127.0.0.1:1')
  t.equal(response?.nonce.length, 32)
})

t.test('says what is wrong by code', async (t) => {
  const expected: [MeshErrorCode, grpc.status][] = [
    ['ERR_TOKEN_USED', grpc.status.UNAUTHENTICATED],
    ['ERR_CREDENTIAL_REVOKED', grpc.status.UNAUTHENTICATED],
    ['ERR_NONCE_INVALID', grpc.status.UNAUTHENTICATED],
    ['ERR_PEER_FORBIDDEN', grpc.status.PERMISSION_DENIED],
    ['ERR_CSR_INVALID', grpc.status.INVALID_ARGUMENT],
    ['ERR_CA_NOT_READY', grpc.status.UNAVAILABLE],
    ['ERR_RATE_LIMITED', grpc.status.RESOURCE_EXHAUSTED],
  ]
  for (const [code, status] of expected)
    t.same(toStatus(new MeshError(code, 'why')), { code: status, details: `${code}: why` })
  const path = new MeshError('ERR_STATE_WRITE', 'cannot write /secret/path')
  t.match(toStatus(path), { code: grpc.status.UNAVAILABLE })
  for (const error of [path, new Error('secret'), new MeshError('ERR_STATE_CORRUPT', 'secret')])
    t.notMatch(toStatus(error).details, 'secret')
})

t.test('refuses what is too large or missing before it is looked at', async (t) => {
  const { attest } = await makeService()
  const big = new Uint8Array(5000)
  const proofs: Fields[] = [
    {},
    { csr: big },
    { proof: { case: 'joinToken', value: { token: 'x'.repeat(513) } } },
    { proof: { case: 'joinToken', value: { token: 'x', credentialCsr: big } } },
    { proof: { case: 'credential', value: { certificate: big } } },
  ]
  for (const fields of proofs) {
    const { error } = await attest(fields)
    t.match(error, { code: grpc.status.INVALID_ARGUMENT, details: /^ERR_CSR_INVALID: / })
  }
})

t.test('turns away an address that fails without end, for a while', async (t) => {
  const { attest, controller } = await makeService()
  const proof = { case: 'joinToken', value: { token: 'x' } } as const
  for (let i = 0; i < 60; i++)
    t.match((await attest({ proof }, `127.0.0.9:${i}`)).error, {
      code: grpc.status.INVALID_ARGUMENT,
    })
  t.match((await attest({ proof }, '127.0.0.9:99')).error, { code: grpc.status.RESOURCE_EXHAUSTED })
  t.match((await attest({ proof }, '127.0.0.10:1')).error, { code: grpc.status.INVALID_ARGUMENT })
  controller.clock.advance(2000)
  t.match((await attest({ proof }, '127.0.0.9:99')).error, { code: grpc.status.INVALID_ARGUMENT })
})

t.test('but not who comes from there with a known token or credential', async (t) => {
  const { attest, controller } = await makeService()
  for (let i = 0; i < 61; i++)
    await attest({ proof: { case: 'joinToken', value: { token: 'x' } } }, '127.0.0.9:1')
  const { token } = await controller.identity.createJoinToken({ workload: 'shop/web' })
  const csr = makeCsr(makeKey())
  const credentialKey = makeKey()
  const credentialCsr = makeCsr(credentialKey, { challengePassword: csrBinding(csr) })
  const instanceId = 'instance-0123456789'
  const value = { token: token.reveal(), credentialCsr }
  const join = { csr, instanceId, proof: { case: 'joinToken', value } } as const
  const { response } = await attest(join, '127.0.0.9:2')
  t.equal(response?.workloadName, 'web')
  const nonce = controller.identity.attestation.challenge()
  const signature = credentialKey.sign(reattestationPayload(nonce, csr))
  const proof = { certificate: response?.credential ?? new Uint8Array(), nonce, signature }
  const renew = { csr, instanceId, proof: { case: 'credential', value: proof } } as const
  t.equal((await attest(renew, '127.0.0.9:3')).response?.workloadName, 'web')
  const stranger = { ...proof, certificate: Buffer.from('x') }
  const { error } = await attest(
    { csr, instanceId, proof: { case: 'credential', value: stranger } },
    '127.0.0.9:4',
  )
  t.match(error, { code: grpc.status.RESOURCE_EXHAUSTED })
})

t.test(
  'a workload that fails without end is turned away too, and locks nobody else out',
  async (t) => {
    let workloadUid: string | undefined = 'uid-of-web'
    const { attest } = await makeService(() =>
      workloadUid === undefined ? undefined : { workloadUid },
    )
    const proof = { case: 'joinToken', value: { token: 'x' } } as const
    for (let i = 0; i < 60; i++) await attest({ proof })
    t.match((await attest({ proof })).error, { code: grpc.status.RESOURCE_EXHAUSTED })
    t.match((await attest({})).error, { code: grpc.status.RESOURCE_EXHAUSTED }, 'nor with rubbish')
    workloadUid = 'uid-of-orders'
    t.match((await attest({ proof })).error, { code: grpc.status.INVALID_ARGUMENT })
    workloadUid = undefined
    t.match((await attest({ proof })).error, { code: grpc.status.INVALID_ARGUMENT })
  },
)
