/**
 * P-256 keys by node:crypto, made in memory. Only a credential's key is ever exported (toPem), to be stored 0600;
 * an SVID's never is.
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
import type { Keys, SidecarKey } from '../../runtime/identity-ports.ts'

const generate = promisify(generateKeyPair)

export const nodeKeys: Keys = {
  async generate() {
    const { privateKey } = await generate('ec', { namedCurve: 'prime256v1' })
    return toKey(privateKey)
  },
  fromPem(pem) {
    let key: KeyObject
    try {
      key = createPrivateKey(pem.reveal())
    } catch {
      // No cause: OpenSSL's error may quote what it read.
      throw corrupt()
    }
    if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') throw corrupt()
    return toKey(key)
  },
}

function toKey(privateKey: KeyObject): SidecarKey {
  return {
    privateKey: new Secret(privateKey),
    publicKey: createPublicKey(privateKey).export({ format: 'der', type: 'spki' }),
    sign: (bytes) => sign('sha256', bytes, privateKey),
    toPem: () => new Secret(privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()),
  }
}

function corrupt(): MeshError {
  return new MeshError('ERR_STATE_CORRUPT', 'the stored credential key is not an ECDSA P-256 key')
}
