/**
 * A certificate that claims a SPIFFE id and comes from a CA that nobody trusts: what an attacker can make alone.
 * RSA, since node-forge signs it by itself; nothing of Postern's own CA is used.
 */
import { generateKeyPairSync } from 'node:crypto'
import forge from 'node-forge'
import type { TlsIdentity } from './client.ts'

const HOUR_MS = 3_600_000

interface Keys {
  readonly pem: string
  readonly privateKey: forge.pki.rsa.PrivateKey
  readonly publicKey: forge.pki.rsa.PublicKey
}

function makeKeys(): Keys {
  const pair = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const pem = pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  const publicPem = pair.publicKey.export({ type: 'spki', format: 'pem' }).toString()
  return {
    pem,
    privateKey: forge.pki.privateKeyFromPem(pem),
    publicKey: forge.pki.publicKeyFromPem(publicPem),
  }
}

function makeCertificate(options: {
  readonly subject: Keys
  readonly issuer: Keys
  readonly extensions: object[]
}): forge.pki.Certificate {
  const certificate = forge.pki.createCertificate()
  const name = [{ name: 'commonName', value: 'rogue' }]
  certificate.publicKey = options.subject.publicKey
  certificate.serialNumber = '01'
  certificate.validity.notBefore = new Date(Date.now() - HOUR_MS)
  certificate.validity.notAfter = new Date(Date.now() + HOUR_MS)
  certificate.setSubject(name)
  certificate.setIssuer(name)
  certificate.setExtensions(options.extensions)
  certificate.sign(options.issuer.privateKey, forge.md.sha256.create())
  return certificate
}

/** Certificate chain and key, PEM, for a TLS client that claims `spiffeId`. */
export function makeRogueIdentity(spiffeId: string): TlsIdentity {
  const ca = makeKeys()
  const leaf = makeKeys()
  const root = makeCertificate({
    subject: ca,
    issuer: ca,
    extensions: [
      { name: 'basicConstraints', cA: true, critical: true },
      { name: 'keyUsage', keyCertSign: true, cRLSign: true, critical: true },
    ],
  })
  const certificate = makeCertificate({
    subject: leaf,
    issuer: ca,
    extensions: [
      { name: 'basicConstraints', cA: false, critical: true },
      { name: 'keyUsage', digitalSignature: true, critical: true },
      { name: 'extKeyUsage', clientAuth: true, serverAuth: true },
      { name: 'subjectAltName', altNames: [{ type: 6, value: spiffeId }], critical: true },
    ],
  })
  const toPem = forge.pki.certificateToPem
  return { cert: toPem(certificate) + toPem(root), key: leaf.pem }
}
