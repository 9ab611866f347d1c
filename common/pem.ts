/** A certificate as PEM. In: DER. Out: the text that OpenSSL, Node and Envoy read. Source: RFC 7468 §2, §5. */

/** Lines of 64 characters; ends with a line feed, so that PEMs can be joined. */
export function toPem(der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
}
