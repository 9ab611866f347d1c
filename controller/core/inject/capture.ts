/**
 * Which connections of a pod the proxy takes: annotations in; ports and CIDRs that are left alone, or refusals, out.
 * A number that can't be read is refused, never skipped: it was meant to say something.
 */
import ipaddr from 'ipaddr.js'
import { PROXY_PORTS } from '../translate/captured-ports.ts'
import { EXCLUDE_INBOUND_PORTS, EXCLUDE_OUTBOUND_CIDRS, EXCLUDE_OUTBOUND_PORTS } from './names.ts'
import type { PodMetadata, Refusal } from './pod-spec.ts'

export interface Capture {
  /** Not guarded: whoever reaches the pod reaches them. Ascending. */
  readonly excludedInboundPorts: readonly number[]
  /** Ascending. */
  readonly excludedOutboundPorts: readonly number[]
  /** Canonical, sorted; IPv4 and IPv6. */
  readonly excludedOutboundCidrs: readonly string[]
}

export const CAPTURE_ALL: Capture = {
  excludedInboundPorts: [],
  excludedOutboundPorts: [],
  excludedOutboundCidrs: [],
}

const MAX_ENTRIES = 64

export function readCapture({ annotations = {} }: PodMetadata): {
  readonly capture: Capture
  readonly refusals: readonly Refusal[]
} {
  const refusals: Refusal[] = []
  const read = <T>(key: string, parse: (text: string) => T | undefined, form: string): T[] => {
    const texts = split(annotations[key])
    const values = texts.map(parse)
    const bad = texts.find((_, i) => values[i] === undefined)
    const field = `metadata.annotations[${key}]`
    const remedy = `write ${form}, separated by commas`
    if (bad !== undefined) refusals.push({ field, message: `"${bad}" is none`, remedy })
    if (texts.length > MAX_ENTRIES)
      refusals.push({ field, message: `more than ${MAX_ENTRIES} are given`, remedy })
    return [...new Set(values.filter((value) => value !== undefined))]
  }
  const ports = (key: string) =>
    read(key, parsePort, 'port numbers from 1 to 65535, none of the proxy’s own').sort(
      (a, b) => a - b,
    )
  const capture = {
    excludedInboundPorts: ports(EXCLUDE_INBOUND_PORTS),
    excludedOutboundPorts: ports(EXCLUDE_OUTBOUND_PORTS),
    excludedOutboundCidrs: read(
      EXCLUDE_OUTBOUND_CIDRS,
      parseCidr,
      'CIDRs such as 10.0.0.0/8',
    ).sort(),
  }
  return { capture, refusals }
}

function split(text: unknown): readonly string[] {
  return typeof text === 'string' && text.trim() !== '' ? text.split(',').map((s) => s.trim()) : []
}

function parsePort(text: string): number | undefined {
  const port = Number(text)
  const isPort = /^\d{1,5}$/.test(text) && port >= 1 && port <= 65_535
  return isPort && !PROXY_PORTS.has(port) ? port : undefined
}

/** The network itself, without host bits, as nft writes it. */
function parseCidr(text: string): string | undefined {
  const match = /^([0-9a-fA-F:.]+)\/(\d{1,3})$/.exec(text)
  const address = match?.[1] ?? ''
  if (!ipaddr.IPv4.isValidFourPartDecimal(address) && !ipaddr.IPv6.isValid(address))
    return undefined
  if (!ipaddr.isValidCIDR(text)) return undefined
  const [, bits] = ipaddr.parseCIDR(text)
  const network = address.includes(':')
    ? ipaddr.IPv6.networkAddressFromCIDR(text)
    : ipaddr.IPv4.networkAddressFromCIDR(text)
  return `${network.toString()}/${bits}`
}
