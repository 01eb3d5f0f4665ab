/**
 * Compressed points of P-256 (SEC 1, 2.3.3 and 2.3.4). Browsers need not read compressed points, so the square root is
 * done here; the field's prime is 3 modulo 4, which makes it one power.
 */
import { type Bytes, bigEndian, bigNumberOf, concat } from './bytes'
import { PeerProtocolError } from './errors'

export const POINT_BYTES = 33

const P = 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn
const B = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn

/** The 65-byte uncompressed point. Throws PeerProtocolError: not a compressed point of the curve. */
export function uncompressed(point: Uint8Array): Bytes {
  const sign = point[0]
  if (point.length !== POINT_BYTES || (sign !== 2 && sign !== 3)) throw new PeerProtocolError('not a compressed P-256 point')
  const x = bigNumberOf(point.subarray(1))
  if (x >= P) throw new PeerProtocolError('not a point of P-256')
  const square = (((x * x) % P) * x + (P - 3n) * x + B) % P
  const root = power(square, (P + 1n) / 4n)
  if ((root * root) % P !== square) throw new PeerProtocolError('not a point of P-256')
  const y = (root & 1n) === BigInt(sign & 1) ? root : P - root
  return concat(Uint8Array.of(4), point.subarray(1), bigEndian(y, 32))
}

/** The 33-byte compressed form of an uncompressed point, as WebCrypto exports it. */
export function compressed(point: Uint8Array): Bytes {
  return concat(Uint8Array.of(2 | (point[64]! & 1)), point.subarray(1, 33))
}

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n
  let factor = base
  for (let left = exponent; left > 0n; left >>= 1n) {
    if ((left & 1n) === 1n) result = (result * factor) % P
    factor = (factor * factor) % P
  }
  return result
}
