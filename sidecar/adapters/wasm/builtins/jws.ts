/**
 * JWS signatures by node:crypto, synchronously: does this key, under this algorithm, verify these bytes?
 * The key's type decides what it may be used for, so that a public key is never taken for an HMAC secret.
 * Source: RFC 7518 §3, RFC 8037.
 */
import { constants, createHmac, type KeyObject, timingSafeEqual, verify } from 'node:crypto'

const CURVES: Readonly<Record<string, string>> = {
  ES256: 'prime256v1',
  ES384: 'secp384r1',
  ES512: 'secp521r1',
}

/** False for an unknown algorithm and for a key that is not of its kind. */
export function verifyJws(
  alg: string,
  key: KeyObject,
  signed: string,
  signature: Uint8Array,
): boolean {
  try {
    return verifyByFamily(alg, key, signed, signature)
  } catch {
    // a signature of another shape than the key's is no signature
    return false
  }
}

function verifyByFamily(
  alg: string,
  key: KeyObject,
  signed: string,
  signature: Uint8Array,
): boolean {
  const family = alg.slice(0, 2)
  const hash = `sha${alg.slice(2)}`
  const data = Buffer.from(signed)
  if (alg === 'EdDSA')
    return key.asymmetricKeyType === 'ed25519' && verify(null, data, key, signature)
  if (!/^(?:RS|PS|ES|HS)(?:256|384|512)$/.test(alg)) return false
  if (family === 'HS') return key.type === 'secret' && verifyHmac(hash, key, data, signature)
  if (family === 'ES') return verifyEcdsa(alg, key, data, signature)
  if (key.asymmetricKeyType !== 'rsa') return false
  return family === 'RS'
    ? verify(hash, data, { key, padding: constants.RSA_PKCS1_PADDING }, signature)
    : verify(hash, data, { key, ...PSS }, signature)
}

const PSS = {
  padding: constants.RSA_PKCS1_PSS_PADDING,
  saltLength: constants.RSA_PSS_SALTLEN_AUTO,
}

function verifyEcdsa(alg: string, key: KeyObject, data: Buffer, signature: Uint8Array): boolean {
  if (key.asymmetricKeyType !== 'ec' || key.asymmetricKeyDetails?.namedCurve !== CURVES[alg])
    return false
  return verify(`sha${alg.slice(2)}`, data, { key, dsaEncoding: 'ieee-p1363' }, signature)
}

function verifyHmac(hash: string, key: KeyObject, data: Buffer, signature: Uint8Array): boolean {
  const mac = createHmac(hash, key).update(data).digest()
  return mac.length === signature.length && timingSafeEqual(mac, signature)
}
