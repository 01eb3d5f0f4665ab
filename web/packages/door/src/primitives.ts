/**
 * The few primitives of SPEC.md on WebCrypto: SHA-256, HMAC, HKDF, AES-256-GCM, one AES-128 block, P-256 ECDH and ES256.
 * Private keys are WebCrypto's and need not be extractable; nothing here ever asks for their bytes.
 */
import { type Bytes, concat, utf8 } from './bytes'
import { compressed, uncompressed } from './point'

const LABEL = utf8('innkeeper/door/1 ')
const CURVE = { namedCurve: 'P-256' }
const ES256 = { name: 'ECDSA', hash: 'SHA-256' }

export async function sha256(data: Bytes): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', data))
}

export async function hmac(key: Bytes, data: Bytes): Promise<Bytes> {
  const imported = await crypto.subtle.importKey('raw', key, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign'])
  return new Uint8Array(await crypto.subtle.sign('HMAC', imported, data))
}

/** A secret to derive from, as WebCrypto holds it: it can be kept (IndexedDB) and used, and nobody can read it out. */
export async function deriving(secret: Bytes): Promise<CryptoKey> {
  return crypto.subtle.importKey('raw', secret, 'HKDF', false, ['deriveBits'])
}

/** `size` bytes of HKDF-SHA256 over `secret`, for the named purpose (SPEC.md 3). */
export async function derive(secret: Bytes | CryptoKey, salt: Bytes, purpose: Uint8Array, size: number): Promise<Bytes> {
  const imported = secret instanceof Uint8Array ? await deriving(secret) : secret
  const algorithm = { name: 'HKDF', hash: 'SHA-256', salt, info: concat(LABEL, purpose) }
  return new Uint8Array(await crypto.subtle.deriveBits(algorithm, imported, size * 8))
}

/** One block of AES-128. WebCrypto has no ECB; the first block of CBC after zeros is the same. */
export async function aesBlock(key: Bytes, block: Bytes): Promise<Bytes> {
  const imported = await crypto.subtle.importKey('raw', key, 'AES-CBC', false, ['encrypt'])
  const sealed = await crypto.subtle.encrypt({ name: 'AES-CBC', iv: new Uint8Array(16) }, imported, block)
  return new Uint8Array(sealed.slice(0, 16))
}

export async function gcmKey(key: Bytes): Promise<CryptoKey> {
  return crypto.subtle.importKey('raw', key, 'AES-GCM', false, ['encrypt', 'decrypt'])
}

export async function gcmSeal(key: CryptoKey, nonce: Bytes, plaintext: Bytes, header: Bytes): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.encrypt({ name: 'AES-GCM', iv: nonce, additionalData: header }, key, plaintext))
}

/** The plaintext, or null if it was not sealed so. */
export async function gcmOpen(key: CryptoKey, nonce: Bytes, sealed: Bytes, header: Bytes): Promise<Bytes | null> {
  try {
    return new Uint8Array(await crypto.subtle.decrypt({ name: 'AES-GCM', iv: nonce, additionalData: header }, key, sealed))
  } catch (error) {
    if (error instanceof DOMException && error.name === 'OperationError') return null
    throw error
  }
}

/** A key pair that ECDH needs: the private half as WebCrypto holds it, the public one as a compressed point. */
export interface Ephemeral {
  privateKey: CryptoKey
  point: Bytes
}

export async function newEphemeral(): Promise<Ephemeral> {
  const pair = await crypto.subtle.generateKey({ name: 'ECDH', ...CURVE }, false, ['deriveBits'])
  return { privateKey: pair.privateKey, point: await pointOf(pair.publicKey) }
}

/** The 32-byte x coordinate of P-256 ECDH with the holder of `point`. Throws PeerProtocolError: no such point. */
export async function shared(privateKey: CryptoKey, point: Uint8Array): Promise<Bytes> {
  const other = await crypto.subtle.importKey('raw', uncompressed(point), { name: 'ECDH', ...CURVE }, false, [])
  return new Uint8Array(await crypto.subtle.deriveBits({ name: 'ECDH', public: other }, privateKey, 256))
}

/** The phone's own key: the private half can be used and kept, but not read by anybody. */
export async function newPhoneKey(): Promise<CryptoKeyPair> {
  return crypto.subtle.generateKey({ name: 'ECDSA', ...CURVE }, false, ['sign', 'verify'])
}

/** The compressed point of a public P-256 key. */
export async function pointOf(key: CryptoKey): Promise<Bytes> {
  return compressed(new Uint8Array(await crypto.subtle.exportKey('raw', key)))
}

/** 64 bytes r || s. */
export async function signEs256(key: CryptoKey, data: Bytes): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.sign(ES256, key, data))
}

/** Whether the holder of the compressed `point` signed `data`. Throws PeerProtocolError: no such point. */
export async function verifyEs256(point: Uint8Array, signature: Bytes, data: Bytes): Promise<boolean> {
  const key = await crypto.subtle.importKey('raw', uncompressed(point), { name: 'ECDSA', ...CURVE }, false, ['verify'])
  return crypto.subtle.verify(ES256, key, signature, data)
}
