/**
 * The redirect of a pod's TCP connections to its proxy, as the text that `nft` takes. Pure; loading it again gives the same.
 *
 *   from outside        → 15006, but for the health port and what is excluded
 *   from the proxy      → untouched; to the pod itself 15006, so that such a call is decided like any other
 *   from the app        → 15001, but for loopback, DNS and what is excluded
 *   the proxy to its app→ untouched, known by its source address (captured-ports.ts)
 *
 * UDP, and with it DNS, is left alone. Where Envoy doesn't listen on IPv6, a captured IPv6 connection is refused, not let by.
 * Source: nft(8); one family `inet`, so that no address family has a way around.
 */
import type { Capture } from './capture.ts'
import { HEALTH_PORT, INBOUND_PORT, OUTBOUND_PORT, PROXY_UID } from './names.ts'

const DNS = 53

export function toNftRuleset(capture: Capture): string {
  const { excludedInboundPorts, excludedOutboundPorts, excludedOutboundCidrs } = capture
  const inbound = unique([HEALTH_PORT, ...excludedInboundPorts])
  const outbound = unique([DNS, ...excludedOutboundPorts])
  return `table inet postern
delete table inet postern
table inet postern {
  chain inbound {
    type nat hook prerouting priority -100; policy accept;
    iifname "lo" return
    tcp dport ${setOf(inbound)} return
    meta l4proto tcp redirect to :${INBOUND_PORT}
  }
  chain outbound {
    type nat hook output priority -100; policy accept;
    oifname "lo" ip saddr 127.0.0.6 return
    oifname "lo" ip6 saddr ::6 return
    ip daddr 127.0.0.0/8 return
    ip6 daddr ::1 return
    meta skuid ${PROXY_UID} oifname "lo" meta l4proto tcp redirect to :${INBOUND_PORT}
    meta skuid ${PROXY_UID} return
    tcp dport ${setOf(outbound)} return
${excludedOutboundCidrs.map((cidr) => `    ${familyOf(cidr)} daddr ${cidr} return\n`).join('')}\
    meta l4proto tcp redirect to :${OUTBOUND_PORT}
  }
}
`
}

function familyOf(cidr: string): 'ip' | 'ip6' {
  return cidr.includes(':') ? 'ip6' : 'ip'
}

function setOf(ports: readonly number[]): string {
  return `{ ${ports.join(', ')} }`
}

function unique(ports: readonly number[]): readonly number[] {
  return [...new Set(ports)].sort((a, b) => a - b)
}
