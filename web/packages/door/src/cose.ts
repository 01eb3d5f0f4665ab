/**
 * COSE_Sign1 with ES256 and nothing else of COSE, after protocols/cose.py: the untagged array
 * [protected, {}, payload, signature], protected = {1: -7, 4: kid}.
 *
 * A phone carries what others signed; it reads it to know its own terms and verifies what it holds the key for.
 */
import { type Bytes, utf8 } from './bytes'
import { decode, encode } from './cbor'
import { CredentialRefusedError, PeerProtocolError } from './errors'
import { verifyEs256 } from './primitives'

export const SIGNATURE_BYTES = 64
const KID_BYTES_MOST = 32
const ES256 = -7

/** Taken apart, not believed. */
export interface Sign1 {
  kid: Bytes
  payload: Bytes
  signature: Bytes
  protectedHeader: Bytes
}

/** Take a COSE_Sign1 message apart. Throws PeerProtocolError. */
export function parse1(data: Uint8Array, bytesMost: number): Sign1 {
  const message = decode(data, bytesMost, 2)
  if (!Array.isArray(message) || message.length !== 4) throw notOne()
  const [protectedHeader, unprotectedHeader, payload, signature] = message
  if (!(protectedHeader instanceof Uint8Array && payload instanceof Uint8Array && signature instanceof Uint8Array)) throw notOne()
  if (!(unprotectedHeader instanceof Map) || unprotectedHeader.size !== 0) throw notOne()
  if (signature.length !== SIGNATURE_BYTES) throw new PeerProtocolError(`COSE_Sign1: signature of ${signature.length} bytes, not ${SIGNATURE_BYTES}`)
  const header = decode(protectedHeader, 64, 1)
  const kid = header instanceof Map && header.size === 2 && header.get(1) === ES256 ? header.get(4) : undefined
  if (!(kid instanceof Uint8Array) || kid.length < 1 || kid.length > KID_BYTES_MOST) throw new PeerProtocolError('COSE_Sign1: header is not {1: -7, 4: kid}')
  return { kid, payload, signature, protectedHeader }
}

/** The payload, if the holder of `point` (compressed P-256) signed it. Throws CredentialRefusedError: bad_signature. */
export async function verify1(message: Sign1, point: Uint8Array): Promise<Bytes> {
  const signed = encode(['Signature1', message.protectedHeader, new Uint8Array(0), message.payload])
  if (!(await verifyEs256(point, message.signature, signed))) throw new CredentialRefusedError('bad_signature')
  return message.payload
}

/** What a signer signs: for those who make messages in tests. */
export function toBeSigned(protectedHeader: Bytes, payload: Bytes, external = ''): Bytes {
  return encode(['Signature1', protectedHeader, utf8(external), payload])
}

function notOne(): PeerProtocolError {
  return new PeerProtocolError('COSE_Sign1: not [protected, {}, payload, signature]')
}
