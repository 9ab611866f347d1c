#!/bin/sh
# Pid 1 of the test cluster's node, in mount, network, pid, uts and ipc namespaces of its own: when it ends, the kernel
# ends every component, shim and container, and all mounts, addresses and rules go with them.
# Usage: node.sh STATE NODE_ADDRESS GATEWAY NODE_NAME
set -eu
state=$1 address=$2 gateway=$3 name=$4

# The kubelet wants shared propagation; unshare made ours private to this namespace.
mount --make-rshared /
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/postern /run/lock
mount --bind "$state" /run/postern
run=/run/postern

# The machine's /var/lib and /var/log stay as they are: what the node writes there goes elsewhere.
for dir in /var/lib /var/log; do
  layers=/run/.layers$dir
  mkdir -p "$layers/upper" "$layers/work"
  mount -t overlay overlay -o "lowerdir=$dir,upperdir=$layers/upper,workdir=$layers/work" "$dir"
done
for dir in /var/lib/kubelet /var/log/pods; do
  mkdir -p "$dir" "$run/node$dir"
  mount --bind "$run/node$dir" "$dir"
done
mkdir -p /var/log/containers

# The kubelet sets these for the whole machine: it gets stand-ins.
mkdir -p "$run/sysctl"
for key in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops \
  kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
  stand_in=$run/sysctl/$(echo "$key" | tr / _)
  cat "/proc/sys/$key" > "$stand_in"
  mount --bind "$stand_in" "/proc/sys/$key"
done

echo "$name" > /proc/sys/kernel/hostname
ip link set lo up
until ip link show eth0 > /dev/null 2>&1; do sleep 0.05; done
ip address add "$address/24" dev eth0
ip link set eth0 up
ip route add default via "$gateway"
echo 1 > /proc/sys/net/ipv4/ip_forward

# One component, started again whenever it ends, and left down while stopped/<name> is there.
keep_running() {
  while :; do
    while [ -e "$run/stopped/$1" ]; do sleep 0.1; done
    "$run/components/$1" >> "$run/logs/$1.log" 2>&1 &
    echo $! > "$run/pids/$1"
    wait $! || true
    echo "$(date '+%T') $1 ended" >> "$run/logs/node.log"
    sleep 0.5
  done
}
for component in "$run"/components/*; do keep_running "${component##*/}" & done
while :; do wait || true; sleep 1; done
