/** Certificates as PEM: the text that OpenSSL, Node and Envoy read. In: DER, or PEM. Out: the other. Source: RFC 7468 §2, §5. */

/** Lines of 64 characters; ends with a line feed, so that PEMs can be joined. */
export function toPem(der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
}

const BLOCK = /-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)\s*-----END CERTIFICATE-----/g

/** The certificates in a text, DER, in their order; what is between them is no matter, as OpenSSL has it. */
export function fromPem(text: string): readonly Uint8Array[] {
  return [...text.matchAll(BLOCK)].map(([, body = '']) => Buffer.from(body, 'base64'))
}
