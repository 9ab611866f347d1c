/**
 * The components of a test cluster and their command lines. Pure.
 * In: layout, programs. Out: name → a script that becomes the component; pid 1 of the node (node.sh) keeps each running.
 */
import { dirname, join } from 'node:path'
import type { Programs } from './config.ts'
import { INSIDE, type Layout, NODE_NAME } from './layout.ts'

type Flags = Readonly<Record<string, string>>

const PKI = `${INSIDE}/pki`
const LOOPBACK = '127.0.0.1'
const ETCD = `http://${LOOPBACK}:2379`

/** Component → the text of its script. */
export function componentScripts(layout: Layout, programs: Programs): ReadonlyMap<string, string> {
  const { kubernetes } = programs
  const commands: Readonly<Record<string, readonly [string, Flags]>> = {
    etcd: [join(programs.etcd, 'etcd'), etcdFlags()],
    containerd: [
      join(programs.containerd, 'containerd'),
      { config: `${INSIDE}/containerd.toml`, 'log-level': 'info' },
    ],
    'kube-apiserver': [join(kubernetes, 'kube-apiserver'), apiServerFlags(layout)],
    'kube-controller-manager': [join(kubernetes, 'kube-controller-manager'), managerFlags()],
    'kube-scheduler': [
      join(kubernetes, 'kube-scheduler'),
      {
        kubeconfig: `${INSIDE}/kubeconfigs/scheduler.conf`,
        'leader-elect': 'false',
        'bind-address': LOOPBACK,
      },
    ],
    kubelet: [join(kubernetes, 'kubelet'), kubeletFlags(layout)],
    'kube-proxy': [join(kubernetes, 'kube-proxy'), { config: `${INSIDE}/kube-proxy.yaml`, v: '2' }],
  }
  const path = [kubernetes, programs.containerd, dirname(programs.runc), dirname(programs.nft)]
  return new Map(
    Object.entries(commands).map(([name, [program, flags]]) => [
      name,
      script(path, program, flags),
    ]),
  )
}

function script(path: readonly string[], program: string, flags: Flags): string {
  const words = [program, ...Object.entries(flags).map(([name, value]) => `--${name}=${value}`)]
  const quoted = words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`)
  return `#!/bin/sh\nPATH='${path.join(':')}':$PATH\nexec ${quoted.join(' \\\n  ')}\n`
}

function etcdFlags(): Flags {
  const peer = `http://${LOOPBACK}:2380`
  return {
    name: 'node',
    'data-dir': `${INSIDE}/etcd`,
    // The data is thrown away with the cluster.
    'unsafe-no-fsync': 'true',
    'log-level': 'warn',
    'listen-client-urls': ETCD,
    'advertise-client-urls': ETCD,
    'listen-peer-urls': peer,
    'initial-advertise-peer-urls': peer,
    'initial-cluster': `node=${peer}`,
  }
}

function apiServerFlags({ nodeAddress, serviceNetwork }: Layout): Flags {
  return {
    'etcd-servers': ETCD,
    'secure-port': '6443',
    'advertise-address': nodeAddress,
    'service-cluster-ip-range': serviceNetwork,
    'authorization-mode': 'Node,RBAC',
    'enable-admission-plugins': 'NodeRestriction',
    'allow-privileged': 'true',
    'client-ca-file': `${PKI}/ca.crt`,
    'tls-cert-file': `${PKI}/apiserver.crt`,
    'tls-private-key-file': `${PKI}/apiserver.key`,
    'kubelet-client-certificate': `${PKI}/apiserver-kubelet-client.crt`,
    'kubelet-client-key': `${PKI}/apiserver-kubelet-client.key`,
    'kubelet-preferred-address-types': 'InternalIP',
    'proxy-client-cert-file': `${PKI}/front-proxy-client.crt`,
    'proxy-client-key-file': `${PKI}/front-proxy-client.key`,
    'requestheader-client-ca-file': `${PKI}/front-proxy-ca.crt`,
    'requestheader-allowed-names': 'front-proxy-client',
    'requestheader-extra-headers-prefix': 'X-Remote-Extra-',
    'requestheader-group-headers': 'X-Remote-Group',
    'requestheader-username-headers': 'X-Remote-User',
    'service-account-issuer': 'https://kubernetes.default.svc.cluster.local',
    'service-account-key-file': `${PKI}/sa.pub`,
    'service-account-signing-key-file': `${PKI}/sa.key`,
    'shutdown-delay-duration': '0s',
  }
}

function managerFlags(): Flags {
  return {
    kubeconfig: `${INSIDE}/kubeconfigs/controller-manager.conf`,
    'leader-elect': 'false',
    'use-service-account-credentials': 'true',
    'service-account-private-key-file': `${PKI}/sa.key`,
    'root-ca-file': `${PKI}/ca.crt`,
    'cluster-signing-cert-file': `${PKI}/ca.crt`,
    'cluster-signing-key-file': `${PKI}/ca.key`,
    'allocate-node-cidrs': 'false',
    'flex-volume-plugin-dir': '/var/lib/kubelet/volumeplugins',
    'bind-address': LOOPBACK,
  }
}

function kubeletFlags({ nodeAddress }: Layout): Flags {
  return {
    config: `${INSIDE}/kubelet.yaml`,
    kubeconfig: `${INSIDE}/kubeconfigs/kubelet.conf`,
    'hostname-override': NODE_NAME,
    'node-ip': nodeAddress,
    v: '2',
  }
}
