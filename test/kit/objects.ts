/**
 * Builders of custom resources as the manifests' reader hands them over: valid, with defaults. Options say only what a
 * test is about. Names are `namespace/name` or a name in namespace `shop`.
 */
import type {
  AuthorizationPolicy,
  AuthorizationPolicySpec,
  BackendTrafficPolicy,
  BackendTrafficPolicySpec,
  CertificateAuthority,
  CertificateAuthoritySpec,
  Mesh,
  MeshSpec,
  ObjectMeta,
  PeerAuthentication,
  PeerAuthenticationSpec,
  WorkloadEntry,
  WorkloadEntryInbound,
  WorkloadEntryOutbound,
  WorkloadEntrySpec,
} from '../../controller/core/crd/index.ts'
import type { TranslationInput } from '../../controller/core/translate/index.ts'

const apiVersion = 'postern.dev/v1alpha1'

export function makeMesh(spec: Partial<MeshSpec> = {}): Mesh {
  return {
    apiVersion,
    kind: 'Mesh',
    metadata: { name: 'mesh' },
    spec: {
      trustDomain: 'shop.example',
      defaultAction: { action: 'DENY', mode: 'Enforce' },
      mtls: { mode: 'STRICT', minTLSVersion: 'TLSv1_3' },
      outboundTrafficPolicy: { mode: 'RegistryOnly' },
      certificateAuthorityRef: { name: 'postern' },
      svid: { lifetimeSeconds: 86_400 },
      telemetry: { accessLog: { mode: 'Off' } },
      ...spec,
    },
  }
}

export function makeAuthority(spec: Partial<CertificateAuthoritySpec> = {}): CertificateAuthority {
  return {
    apiVersion,
    kind: 'CertificateAuthority',
    metadata: { name: 'postern' },
    spec: {
      selfSigned: {},
      keyAlgorithm: 'ECDSA-P256',
      rootLifetimeSeconds: 315_360_000,
      maxSvidLifetimeSeconds: 86_400,
      ...spec,
    },
  }
}

type Inbound = Partial<WorkloadEntryInbound> & Pick<WorkloadEntryInbound, 'port'>
type Outbound = Partial<WorkloadEntryOutbound> & Pick<WorkloadEntryOutbound, 'port' | 'service'>

/** App ports are the inbound port + 10,000; the service account is the name. */
export function makeWorkloadEntry(
  name: string,
  spec: Partial<Omit<WorkloadEntrySpec, 'inbound' | 'outbound'>> & {
    readonly inbound?: readonly Inbound[]
    readonly outbound?: readonly Outbound[]
  } = {},
  metadata: Partial<ObjectMeta> = {},
): WorkloadEntry {
  const meta = makeMeta(name, metadata)
  const { inbound, outbound, ...rest } = spec
  return {
    apiVersion,
    kind: 'WorkloadEntry',
    metadata: meta,
    spec: {
      serviceAccount: meta.name,
      address: '127.0.0.1',
      ...rest,
      ...(inbound === undefined ? {} : { inbound: inbound.map(makeInbound) }),
      ...(outbound === undefined ? {} : { outbound: outbound.map(makeOutbound) }),
    },
  }
}

function makeInbound(port: Inbound): WorkloadEntryInbound {
  return {
    name: 'http',
    appPort: port.port + 10_000,
    appAddress: '127.0.0.1',
    protocol: 'HTTP',
    ...port,
  }
}

function makeOutbound(port: Outbound): WorkloadEntryOutbound {
  return { name: `to-${port.port}`, address: '127.0.0.1', servicePort: 'http', ...port }
}

export function makePeerAuthentication(
  name: string,
  spec: PeerAuthenticationSpec = {},
  metadata: Partial<ObjectMeta> = {},
): PeerAuthentication {
  return { apiVersion, kind: 'PeerAuthentication', metadata: makeMeta(name, metadata), spec }
}

/** For Service `orders`, if `spec` says no other. */
export function makeTrafficPolicy(
  name: string,
  spec: Partial<BackendTrafficPolicySpec> = {},
  metadata: Partial<ObjectMeta> = {},
): BackendTrafficPolicy {
  const targetRefs = [{ group: '', kind: 'Service', name: 'orders' }] as const
  return {
    apiVersion,
    kind: 'BackendTrafficPolicy',
    metadata: makeMeta(name, metadata),
    spec: { targetRefs, ...spec },
  }
}

/** A retries section as the defaults make it. */
export function makeRetries(
  retries: Partial<NonNullable<BackendTrafficPolicySpec['retries']>> = {},
): NonNullable<BackendTrafficPolicySpec['retries']> {
  return {
    attempts: 2,
    methods: ['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE'],
    retryOn: ['Reset'],
    statusCodes: [503],
    ...retries,
  }
}

export function makePolicy(
  name: string,
  spec: Partial<AuthorizationPolicySpec> = {},
  metadata: Partial<ObjectMeta> = {},
): AuthorizationPolicy {
  return {
    apiVersion,
    kind: 'AuthorizationPolicy',
    metadata: makeMeta(name, metadata),
    spec: { action: 'ALLOW', mode: 'Enforce', required: false, onError: 'Deny', ...spec },
  }
}

/** Everything that translation takes; uids are `uid-<name>`. */
export function makeInput(input: Partial<TranslationInput> = {}): TranslationInput {
  const workloadEntries = input.workloadEntries ?? []
  return {
    mesh: makeMesh(),
    certificateAuthorities: [makeAuthority()],
    peerAuthentications: [],
    backendTrafficPolicies: [],
    policies: [],
    workloadEntries,
    uids: new Map(
      workloadEntries.map(({ metadata: m }) => [`${m.namespace}/${m.name}`, `uid-${m.name}`]),
    ),
    ...input,
  }
}

function makeMeta(text: string, metadata: Partial<ObjectMeta>): ObjectMeta {
  const [first = '', second] = text.split('/')
  const names =
    second === undefined ? { namespace: 'shop', name: first } : { namespace: first, name: second }
  return { ...names, ...metadata }
}
