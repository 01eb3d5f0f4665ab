/** Bytes and their spellings: hexadecimal, base64, big-endian numbers. Every reader is strict: one spelling a value. */

/** Plain bytes, as WebCrypto takes them (never over a shared buffer). */
export type Bytes = Uint8Array<ArrayBuffer>

export function concat(...parts: readonly Uint8Array[]): Bytes {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

export function equal(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, at) => byte === other[at])
}

export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

/** The bytes that `text` spells in hexadecimal digits, or null. */
export function fromHex(text: string): Bytes | null {
  if (!/^(?:[0-9a-f]{2})*$/iu.test(text)) return null
  return Uint8Array.from({ length: text.length / 2 }, (_, at) => Number.parseInt(text.slice(2 * at, 2 * at + 2), 16))
}

export function base64(bytes: Uint8Array): string {
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''))
}

/** The bytes that `text` spells in base64 with padding (RFC 4648, section 4), or null. */
export function fromBase64(text: string): Bytes | null {
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/u.test(text)) return null
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0))
}

/** As `fromBase64`, in the spelling for addresses: `-` and `_`, no padding (RFC 4648, section 5). */
export function fromBase64Url(text: string): Bytes | null {
  if (!/^[A-Za-z0-9_-]*$/u.test(text) || text.length % 4 === 1) return null
  const plain = text.replaceAll('-', '+').replaceAll('_', '/')
  return fromBase64(plain.padEnd(Math.ceil(plain.length / 4) * 4, '='))
}

export function base64Url(bytes: Uint8Array): string {
  return base64(bytes).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
}

export function utf8(text: string): Bytes {
  return new TextEncoder().encode(text)
}

/** `value` as `size` bytes, big-endian; what does not fit is cut off at the top, as in a counter that wraps. */
export function bigEndian(value: number | bigint, size: number): Bytes {
  const bytes = new Uint8Array(size)
  let left = BigInt(value)
  for (let at = size - 1; at >= 0; at -= 1) {
    bytes[at] = Number(left & 0xffn)
    left >>= 8n
  }
  return bytes
}

/** A big-endian number of at most 6 bytes. */
export function numberOf(bytes: Uint8Array): number {
  return bytes.reduce((value, byte) => value * 256 + byte, 0)
}

export function bigNumberOf(bytes: Uint8Array): bigint {
  return bytes.length === 0 ? 0n : BigInt(`0x${hex(bytes)}`)
}
