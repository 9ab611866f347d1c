/**
 * The configuration files of a test cluster's components, as text. Pure.
 * In: the layout and the programs. Out: file → content, below the cluster's folder; paths in them are those of the node.
 */
import { stringify } from 'yaml'
import { INSIDE, type Layout, NODE_NAME } from './layout.ts'

export interface Programs {
  /** Folders of the cache. */
  readonly kubernetes: string
  readonly etcd: string
  readonly containerd: string
  readonly cni: string
  /** Files. */
  readonly runc: string
  readonly nft: string
}

export const PAUSE_IMAGE = 'localhost/pause:1'

export function configFiles(
  layout: Layout,
  programs: Programs,
  release: string,
): ReadonlyMap<string, string> {
  return new Map([
    ['kubeadm.yaml', kubeadm(layout, release)],
    ['kubelet.yaml', kubelet(layout)],
    ['kube-proxy.yaml', kubeProxy(layout)],
    ['containerd.toml', containerd(programs)],
    ['cni/10-bridge.conflist', cni(layout)],
    ['resolv.conf', 'nameserver 127.0.0.1\n'],
  ])
}

/** kubeadm makes the certificates and the kubeconfigs; it starts nothing. */
function kubeadm(
  { folder, nodeAddress, podNetwork, serviceNetwork }: Layout,
  release: string,
): string {
  const apiVersion = 'kubeadm.k8s.io/v1beta4'
  const init = {
    apiVersion,
    kind: 'InitConfiguration',
    localAPIEndpoint: { advertiseAddress: nodeAddress, bindPort: 6443 },
    nodeRegistration: { name: NODE_NAME, criSocket: `unix://${INSIDE}/containerd.sock` },
  }
  const cluster = {
    apiVersion,
    kind: 'ClusterConfiguration',
    kubernetesVersion: `v${release}`,
    certificatesDir: `${folder}/pki`,
    encryptionAlgorithm: 'ECDSA-P256',
    networking: {
      podSubnet: podNetwork,
      serviceSubnet: serviceNetwork,
      dnsDomain: 'cluster.local',
    },
    apiServer: { certSANs: ['localhost', '127.0.0.1'] },
  }
  return `${stringify(init)}---\n${stringify(cluster)}`
}

function kubelet({ cgroup, dnsAddress }: Layout): string {
  return stringify({
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    failCgroupV1: false,
    failSwapOn: false,
    cgroupDriver: 'cgroupfs',
    cgroupRoot: `/${cgroup}`,
    cgroupsPerQOS: true,
    enforceNodeAllocatable: ['pods'],
    containerRuntimeEndpoint: `unix://${INSIDE}/containerd.sock`,
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: `${INSIDE}/pki/ca.crt` },
    },
    authorization: { mode: 'Webhook' },
    clusterDNS: [dnsAddress],
    clusterDomain: 'cluster.local',
    resolvConf: `${INSIDE}/resolv.conf`,
    volumePluginDir: '/var/lib/kubelet/volumeplugins',
    maxPods: 250,
    // Root without CAP_SYS_RESOURCE may neither lower an OOM score nor raise a hard limit.
    oomScoreAdj: 0,
    maxOpenFiles: 20000,
    // The disk is the machine's: it is not ours to evict pods, or to throw images away, because it is full.
    evictionHard: {
      'memory.available': '100Mi',
      'nodefs.available': '0%',
      'nodefs.inodesFree': '0%',
      'imagefs.available': '0%',
    },
    imageGCHighThresholdPercent: 100,
    syncFrequency: '10s',
    nodeStatusUpdateFrequency: '5s',
  })
}

function kubeProxy({ podNetwork }: Layout): string {
  return stringify({
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    mode: 'nftables',
    clientConnection: { kubeconfig: `${INSIDE}/kubeconfigs/kube-proxy.conf` },
    hostnameOverride: NODE_NAME,
    clusterCIDR: podNetwork,
    healthzBindAddress: '127.0.0.1:10256',
    metricsBindAddress: '127.0.0.1:10249',
    oomScoreAdj: 0,
    // These limits can only be written from the machine's own network namespace.
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
    nftables: { minSyncPeriod: '200ms' },
  })
}

function containerd({ cni, runc }: Programs): string {
  return `version = 3
root = '${INSIDE}/containerd'
state = '/run/containerd'
# The first would make /opt/containerd; the others wait for what isn't there.
disabled_plugins = [
  'io.containerd.internal.v1.opt',
  'io.containerd.nri.v1.nri',
  'io.containerd.internal.v1.tracing',
  'io.containerd.tracing.processor.v1.otlp',
]

[grpc]
address = '${INSIDE}/containerd.sock'

[ttrpc]
address = '${INSIDE}/containerd.sock.ttrpc'

[plugins.'io.containerd.cri.v1.images']
snapshotter = 'overlayfs'

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '${PAUSE_IMAGE}'

[plugins.'io.containerd.cri.v1.runtime']
# Root without CAP_SYS_RESOURCE can't lower an OOM score; without this no pod would start there.
restrict_oom_score_adj = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['${cni}']
conf_dir = '${INSIDE}/cni'

[plugins.'io.containerd.cri.v1.runtime'.containerd]
default_runtime_name = 'runc'

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = '${runc}'
SystemdCgroup = false
`
}

/** A bridge with hairpin: a pod reaches itself through its Service. No masquerading: nothing leaves the machine. */
function cni({ podNetwork }: Layout): string {
  const ipam = {
    type: 'host-local',
    dataDir: '/run/cni-addresses',
    ranges: [[{ subnet: podNetwork }]],
    routes: [{ dst: '0.0.0.0/0' }],
  }
  const bridge = { type: 'bridge', bridge: 'cni0', isGateway: true, hairpinMode: true, ipam }
  const portmap = { type: 'portmap', backend: 'nftables', capabilities: { portMappings: true } }
  return JSON.stringify({ cniVersion: '1.0.0', name: 'pods', plugins: [bridge, portmap] })
}
