/**
 * What a policy can know about one request, as plain values: the only input of the evaluator.
 * The sidecar fills it from a CheckRequest, `explain` from its flags, tests by hand.
 * Holds no body and no Rego input; an attribute that isn't there is absent, never an empty default.
 */

export interface RequestAttributes {
  readonly protocol: 'http' | 'tcp'
  /** The one URI SAN of the peer's certificate; undefined on plaintext, without a certificate or without a URI SAN. */
  readonly principal: string | undefined
  /** The peer's own address (never X-Forwarded-For), as text; undefined for a peer without one, such as a Unix socket. */
  readonly sourceAddress: string | undefined
  /** The inbound port that was called. */
  readonly destinationPort: number
  /** As sent. */
  readonly method?: string
  /** Normalised by Envoy, with the query still on. */
  readonly path?: string
  readonly host?: string
  /** Lower-case names; a header sent twice is one value joined by `,`. */
  readonly headers?: Readonly<Record<string, string>>
}

/** Names of the trust domain whose namespaces `namespaces` means. */
export interface TrustDomains {
  readonly trustDomain: string
  readonly trustDomainAliases?: readonly string[]
}

/** The path without its query. */
export function cutQuery(path: string): string {
  const mark = path.indexOf('?')
  return mark === -1 ? path : path.slice(0, mark)
}

/** Lower case in ASCII only: Envoy folds no other letters, and U+212A must not become `k`. */
export function lowerAscii(text: string): string {
  return /[A-Z]/.test(text) ? text.replace(/[A-Z]/g, (c) => c.toLowerCase()) : text
}

/** A host without case, then port, then one trailing dot. */
export function normaliseHost(host: string): string {
  return lowerAscii(host)
    .replace(/:[0-9]*$/, '')
    .replace(/\.$/, '')
}

/**
 * The namespace in `spiffe://<domain>/ns/<namespace>/sa/…` when the domain is this mesh's own or an alias,
 * else undefined: foreign peers are named by principal, never by namespace.
 */
export function namespaceOf(principal: string, domains: TrustDomains): string | undefined {
  for (const domain of [domains.trustDomain, ...(domains.trustDomainAliases ?? [])]) {
    const prefix = `spiffe://${domain}/ns/`
    if (!principal.startsWith(prefix)) continue
    const rest = principal.slice(prefix.length)
    const slash = rest.indexOf('/')
    if (slash > 0 && rest.startsWith('/sa/', slash)) return rest.slice(0, slash)
  }
  return undefined
}
