/**
 * Which of OPA's built-ins a policy may call. In: OPA's own capabilities document. Out: the same without those
 * that a decision must not use (network, the host's environment) or that the check worker doesn't offer.
 * A call to one of them is then a compile error that names it, never an error at decision time.
 */

/** Refused in every policy. */
export const UNAVAILABLE_BUILTINS: ReadonlySet<string> = new Set([
  'http.send',
  'net.lookup_ip_addr',
  'opa.runtime',
  'rego.parse_module',
])

/** `capabilities` is what `opa capabilities --current` prints, parsed. No remote schema may be fetched either. */
export function restrictCapabilities(capabilities: unknown): Record<string, unknown> {
  const all = capabilities as { builtins?: readonly { readonly name: string }[] }
  const builtins = (all.builtins ?? []).filter((b) => !UNAVAILABLE_BUILTINS.has(b.name))
  return { ...all, builtins, allow_net: [] }
}
