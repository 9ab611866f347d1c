/**
 * The programs of the test cluster (`make cluster`): Kubernetes itself, what it stands on, and what one asks it with.
 * Go modules pinned by tools/<module>/go.sum; runc comes from the distribution, since it wants a C compiler.
 */
import { ETCD, type GoTool } from './catalog.ts'
import {
  DEFAULT_KUBERNETES,
  kubernetesFlags,
  kubernetesModule,
  kubernetesRelease,
} from './kubernetes.ts'

const CONTAINERD_MODULE = 'github.com/containerd/containerd/v2'
const CONTAINERD_VERSION = '2.3.7'
const CNI = 'github.com/containernetworking/plugins/plugins'

/** All of a release in one build: they share most of what is compiled. */
export function kubernetesTool(release: string): GoTool {
  const others = [
    'kube-apiserver',
    'kube-controller-manager',
    'kube-proxy',
    'kube-scheduler',
    'kubeadm',
    'kubectl',
  ]
  return {
    kind: 'go',
    name: 'kubernetes',
    version: release,
    module: kubernetesModule(release),
    program: 'kubelet',
    main: 'k8s.io/kubernetes/cmd/kubelet',
    others: Object.fromEntries(others.map((name) => [name, `k8s.io/kubernetes/cmd/${name}`])),
    ldflags: kubernetesFlags(release),
    takes: 'Go build, about 7 min, 610 MB on disk',
  }
}

/** The default release. */
export const KUBERNETES = kubernetesTool(DEFAULT_KUBERNETES)

const CONTAINERD: GoTool = {
  kind: 'go',
  name: 'containerd',
  version: CONTAINERD_VERSION,
  main: `${CONTAINERD_MODULE}/cmd/containerd`,
  others: {
    'containerd-shim-runc-v2': `${CONTAINERD_MODULE}/cmd/containerd-shim-runc-v2`,
    ctr: `${CONTAINERD_MODULE}/cmd/ctr`,
  },
  tags: 'no_btrfs,no_zfs,no_devmapper,no_aufs',
  ldflags: `-s -w -X ${CONTAINERD_MODULE}/version.Version=v${CONTAINERD_VERSION}`,
  takes: 'Go build, about 2 min, 77 MB on disk',
}

const CNI_PLUGINS: GoTool = {
  kind: 'go',
  name: 'cni-plugins',
  version: '1.9.1',
  program: 'bridge',
  main: `${CNI}/main/bridge`,
  others: {
    loopback: `${CNI}/main/loopback`,
    'host-local': `${CNI}/ipam/host-local`,
    portmap: `${CNI}/meta/portmap`,
  },
  ldflags: '-s -w',
  takes: 'Go build, a quarter of a minute, 14 MB on disk',
}

const COREDNS: GoTool = {
  kind: 'go',
  name: 'coredns',
  version: '1.14.7',
  main: '.',
  ldflags: '-s -w',
  takes: 'Go build, about 1 min, 53 MB on disk',
}

const PAUSE: GoTool = {
  kind: 'go',
  name: 'pause',
  version: '1',
  main: '.',
  ldflags: '-s -w',
  takes: 'Go build, 2 MB on disk',
}

const HELM_VERSION = '4.3.1'

const HELM: GoTool = {
  kind: 'go',
  name: 'helm',
  version: HELM_VERSION,
  main: 'helm.sh/helm/v4/cmd/helm',
  ldflags: `-s -w -X helm.sh/helm/v4/internal/version.version=v${HELM_VERSION}`,
  takes: 'Go build, about 2 min, 62 MB on disk',
}

/** Pushes image archives to a registry. */
export const CRANE: GoTool = {
  kind: 'go',
  name: 'crane',
  version: '0.22.1',
  main: 'github.com/google/go-containerregistry/cmd/crane',
  ldflags: '-s -w',
  takes: 'Go build, half a minute, 11 MB on disk',
}

/** What `make cluster` needs, in the order in which it is brought; `asked` as `kubernetesRelease` takes it. */
export function clusterTools(asked: string | undefined): readonly GoTool[] {
  const kubernetes = kubernetesTool(kubernetesRelease(asked))
  return [kubernetes, ETCD, CONTAINERD, CNI_PLUGINS, COREDNS, PAUSE, HELM]
}
