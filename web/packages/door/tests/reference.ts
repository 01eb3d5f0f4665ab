/** P-256 by the book, slow and plain: what a test needs to hold given private keys and to sign reproducibly (RFC 6979). */
import { type Bytes, base64Url, bigEndian, bigNumberOf, concat } from '../src/bytes'
import { compressed } from '../src/point'
import { type Ephemeral, hmac, sha256 } from '../src/primitives'

const P = 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn
const N = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
const G: Point = {
  x: 0x6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296n,
  y: 0x4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5n,
}

interface Point {
  x: bigint
  y: bigint
}

const mod = (value: bigint, modulus: bigint): bigint => ((value % modulus) + modulus) % modulus

function inverse(value: bigint, modulus: bigint): bigint {
  let [low, high, one, other] = [mod(value, modulus), modulus, 1n, 0n]
  while (low > 1n) {
    const times = high / low
    ;[low, high, one, other] = [high - times * low, low, other - times * one, one]
  }
  return mod(one, modulus)
}

function add(one: Point | null, other: Point | null): Point | null {
  if (one === null || other === null) return one ?? other
  if (one.x === other.x && one.y !== other.y) return null
  const slope = one.x === other.x ? (3n * one.x * one.x - 3n) * inverse(2n * one.y, P) : (other.y - one.y) * inverse(other.x - one.x, P)
  const x = mod(slope * slope - one.x - other.x, P)
  return { x, y: mod(slope * (one.x - x) - one.y, P) }
}

function multiply(scalar: bigint): Point {
  let [sum, point]: [Point | null, Point | null] = [null, G]
  for (let left = scalar; left > 0n; left >>= 1n) {
    if ((left & 1n) === 1n) sum = add(sum, point)
    point = add(point, point)
  }
  return sum!
}

/** The key pair of a given scalar, as ECDH wants it. */
export async function ephemeralOf(scalar: Bytes): Promise<Ephemeral> {
  const { x, y } = multiply(bigNumberOf(scalar))
  const [left, right] = [bigEndian(x, 32), bigEndian(y, 32)]
  const jwk = { kty: 'EC', crv: 'P-256', d: base64Url(scalar), x: base64Url(left), y: base64Url(right) }
  const privateKey = await crypto.subtle.importKey('jwk', jwk, { name: 'ECDH', namedCurve: 'P-256' }, false, ['deriveBits'])
  return { privateKey, point: compressed(concat(Uint8Array.of(4), left, right)) }
}

/** Deterministic ES256 (RFC 6979), so that the vectors' bytes come out. */
export async function sign(scalar: Bytes, data: Bytes): Promise<Bytes> {
  const d = bigNumberOf(scalar)
  const digest = await sha256(data)
  const z = bigNumberOf(digest)
  const seed = concat(bigEndian(d, 32), bigEndian(z % N, 32))
  let v: Bytes = new Uint8Array(32).fill(1)
  let k: Bytes = new Uint8Array(32)
  for (const round of [0, 1]) {
    k = await hmac(k, concat(v, Uint8Array.of(round), seed))
    v = await hmac(k, v)
  }
  for (;;) {
    v = await hmac(k, v)
    const nonce = bigNumberOf(v)
    if (nonce >= 1n && nonce < N) {
      const r = multiply(nonce).x % N
      return concat(bigEndian(r, 32), bigEndian(mod(inverse(nonce, N) * (z + r * d), N), 32))
    }
    k = await hmac(k, concat(v, Uint8Array.of(0)))
    v = await hmac(k, v)
  }
}
