/**
 * IP addresses and CIDR blocks. An IPv4-mapped IPv6 address is the IPv4 address, in blocks as in peers (DESIGN §4).
 * Reads and writes canonical text; names no host and resolves nothing.
 */
import ipaddr from 'ipaddr.js'

export interface IpAddress {
  readonly bytes: readonly number[]
}

export interface CidrBlock extends IpAddress {
  readonly bits: number
}

const PLAIN_IPV4 = /^(?:0|[1-9][0-9]{0,2})(?:\.(?:0|[1-9][0-9]{0,2})){3}$/

/** The address in a text such as `10.0.0.1` or `2001:db8::1`, or undefined for any other text. */
export function parseAddress(text: string): IpAddress | undefined {
  const parsed = parseStrict(text)
  if (parsed === undefined) return undefined
  const mapped = parsed instanceof ipaddr.IPv6 && parsed.isIPv4MappedAddress()
  return { bytes: (mapped ? parsed.toIPv4Address() : parsed).toByteArray() }
}

/**
 * The block in `10.0.0.0/8`, or that of the one address in `10.0.0.1`; undefined for any other text.
 * Host bits are cleared; blocks within `::ffff:0:0/96` become IPv4.
 */
export function parseCidr(text: string): CidrBlock | undefined {
  const match = /^([^/]+)(?:\/(0|[1-9][0-9]{0,2}))?$/.exec(text)
  const parsed = parseStrict(match?.[1] ?? '')
  if (match === null || parsed === undefined) return undefined
  const all = parsed.toByteArray()
  const bits = match[2] === undefined ? all.length * 8 : Number(match[2])
  if (bits > all.length * 8) return undefined
  const isMapped = parsed instanceof ipaddr.IPv6 && parsed.isIPv4MappedAddress() && bits >= 96
  return isMapped
    ? { bytes: maskBytes(all.slice(12), bits - 96), bits: bits - 96 }
    : { bytes: maskBytes(all, bits), bits }
}

/** Canonical text of the address of a block, without the length. */
export function formatAddress(address: IpAddress): string {
  return ipaddr.fromByteArray([...address.bytes]).toString()
}

export function formatCidr(block: CidrBlock): string {
  return `${formatAddress(block)}/${block.bits}`
}

export function isInBlock(address: IpAddress, block: CidrBlock): boolean {
  if (address.bytes.length !== block.bytes.length) return false
  const masked = maskBytes(address.bytes, block.bits)
  return masked.every((byte, i) => byte === block.bytes[i])
}

/** No octal or short IPv4, no zone: what another parser could read differently is no address. */
function parseStrict(text: string): ipaddr.IPv4 | ipaddr.IPv6 | undefined {
  if (!text.includes(':')) {
    return PLAIN_IPV4.test(text) && ipaddr.IPv4.isValid(text) ? ipaddr.IPv4.parse(text) : undefined
  }
  return !text.includes('%') && ipaddr.IPv6.isValid(text) ? ipaddr.IPv6.parse(text) : undefined
}

function maskBytes(bytes: readonly number[], bits: number): readonly number[] {
  return bytes.map((byte, i) => {
    const kept = Math.min(Math.max(bits - i * 8, 0), 8)
    return byte & (0xff << (8 - kept)) & 0xff
  })
}
