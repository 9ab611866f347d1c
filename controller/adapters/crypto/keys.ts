/**
 * P-256 keys by node:crypto. Private halves stay KeyObjects in a Secret; nothing here writes to disk.
 */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  type KeyObject,
  sign,
} from 'node:crypto'
import { promisify } from 'node:util'
import { MeshError } from '../../../common/errors.ts'
import { Secret } from '../../../common/secret.ts'
import type { Keys, SigningKey } from '../../runtime/identity/ports.ts'

const generate = promisify(generateKeyPair)
const signAsync = promisify(sign)

export const nodeKeys: Keys = {
  async generate() {
    const { privateKey } = await generate('ec', { namedCurve: 'prime256v1' })
    return toSigningKey(privateKey)
  },
  fromPem(pem) {
    return toSigningKey(readPrivateKey(pem))
  },
}

function readPrivateKey(pem: Secret<string>): KeyObject {
  let key: KeyObject
  try {
    key = createPrivateKey(pem.reveal())
  } catch {
    // No cause: OpenSSL's error may quote what it read.
    throw new MeshError('ERR_STATE_CORRUPT', 'a stored private key is not readable')
  }
  if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1')
    throw new MeshError('ERR_STATE_CORRUPT', 'a stored private key is not ECDSA P-256')
  return key
}

function toSigningKey(privateKey: KeyObject): SigningKey {
  return {
    publicKey: createPublicKey(privateKey).export({ format: 'der', type: 'spki' }),
    privateKey: new Secret(privateKey),
    sign: (bytes) => signAsync('sha256', bytes, privateKey),
    toPem: () => new Secret(privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()),
  }
}
