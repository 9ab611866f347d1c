/**
 * IP addresses and CIDR blocks as the API server's CEL library reads them (Go net/netip): no leading zeros, no zone,
 * no IPv4-mapped IPv6. Pure text work; ipaddr.js does the arithmetic.
 * Source: k8s.io/apiserver pkg/cel/library (ip.go, cidr.go).
 */
import ipaddr from 'ipaddr.js'

export interface IpAddress {
  readonly family: 4 | 6
  /** 4 or 16 bytes. */
  readonly bytes: readonly number[]
}

export interface CidrBlock extends IpAddress {
  readonly prefixLength: number
}

const IPV4 = /^(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(?:\.(?!$)|$)){4}$/
const IPV6_CHARACTERS = /^[0-9A-Fa-f:]+(?:[0-9.]+)?$/
const PREFIX_LENGTH = /^(?:0|[1-9][0-9]{0,2})$/

export function parseIp(text: string): IpAddress | undefined {
  if (IPV4.test(text)) return { family: 4, bytes: ipaddr.IPv4.parse(text).toByteArray() }
  if (!text.includes(':') || !IPV6_CHARACTERS.test(text)) return undefined
  const tail = text.slice(text.lastIndexOf(':') + 1)
  if (tail.includes('.') && !IPV4.test(tail)) return undefined
  if (!ipaddr.IPv6.isValid(text)) return undefined
  const address = ipaddr.IPv6.parse(text)
  return address.isIPv4MappedAddress() ? undefined : { family: 6, bytes: address.toByteArray() }
}

/** Of 127.0.0.0/8, or ::1 (netip.Addr.IsLoopback). */
export function isLoopbackIp(address: IpAddress): boolean {
  return ipaddr.fromByteArray([...address.bytes]).range() === 'loopback'
}

export function parseCidr(text: string): CidrBlock | undefined {
  const slash = text.indexOf('/')
  const address = slash < 0 ? undefined : parseIp(text.slice(0, slash))
  const length = text.slice(slash + 1)
  if (address === undefined || !PREFIX_LENGTH.test(length)) return undefined
  const prefixLength = Number(length)
  return prefixLength > address.bytes.length * 8 ? undefined : { ...address, prefixLength }
}

/** The block with all bits after the prefix zero. */
export function maskCidr(block: CidrBlock): CidrBlock {
  const bytes = block.bytes.map((byte, i) => {
    const bits = Math.min(8, Math.max(0, block.prefixLength - i * 8))
    return byte & (0xff00 >> bits) & 0xff
  })
  return { ...block, bytes }
}

/** Canonical text (RFC 5952), `10.0.0.0/8`, `2001:db8::/32`. */
export function formatCidr(block: CidrBlock): string {
  return `${formatIp(block)}/${block.prefixLength}`
}

export function formatIp(address: IpAddress): string {
  const parsed = ipaddr.fromByteArray([...address.bytes])
  return parsed instanceof ipaddr.IPv6 ? parsed.toRFC5952String() : parsed.toString()
}
