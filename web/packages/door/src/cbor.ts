/**
 * Strict, bounded, deterministic CBOR, after protocols/cbor.py: one value has exactly one spelling, all else is refused.
 *
 * RFC 8949 with: definite lengths, shortest heads, no tags, no floats, no simple values but false, true and null; map keys
 * are integers or text, unique, shortest spelling first and then bytewise; nesting at most 4 unless asked for.
 */
import { type Bytes, concat, bigEndian, utf8 } from './bytes'
import { LocalProtocolError, PeerProtocolError } from './errors'

/** Integers beyond 2^53 are `bigint`, all others `number`. */
export type Value = boolean | number | bigint | string | Bytes | Value[] | ValueMap | null
export type ValueMap = Map<number | bigint | string, Value>

export const DEPTH_MOST = 4

const ADDITIONAL_BYTES = new Map([[24, 1], [25, 2], [26, 4], [27, 8]])
const HEAD_LEAST = new Map([[24, 24n], [25, 0x100n], [26, 0x1_0000n], [27, 0x1_0000_0000n]])

/** The value whose one spelling `data` is; nothing may follow it. Throws PeerProtocolError. */
export function decode(data: Uint8Array, bytesMost: number, depth: number = DEPTH_MOST): Value {
  if (data.length > bytesMost) throw refused(`of ${data.length} bytes, at most ${bytesMost} are read`)
  const reader = new Reader(data, depth)
  const value = reader.value(0)
  if (reader.at !== data.length) throw refused(`${data.length - reader.at} bytes after the value`)
  return value
}

class Reader {
  at = 0
  readonly #data: Uint8Array
  readonly #depth: number

  constructor(data: Uint8Array, depth: number) {
    this.#data = data
    this.#depth = depth
  }

  value(level: number): Value {
    const initial = this.#take(1)[0]!
    const major = initial >> 5
    if (major === 7) {
      if (initial === 0xf4 || initial === 0xf5) return initial === 0xf5
      if (initial === 0xf6) return null
      throw refused(`initial byte 0x${initial.toString(16)} is not allowed`)
    }
    const argument = this.#argument(initial & 0x1f)
    switch (major) {
      case 0:
        return small(argument)
      case 1:
        return small(-1n - argument)
      case 2:
        return this.#take(this.#size(argument))
      case 3:
        return this.#text(this.#size(argument))
      case 4:
        this.#enter(level)
        return Array.from({ length: this.#size(argument) }, () => this.value(level + 1))
      case 5:
        this.#enter(level)
        return this.#map(this.#size(argument), level)
      default:
        throw refused('tags are not allowed')
    }
  }

  #map(size: number, level: number): ValueMap {
    const map: ValueMap = new Map()
    let before: Uint8Array | null = null
    for (let count = 0; count < size; count += 1) {
      const start = this.at
      const key = this.value(level + 1)
      if (typeof key !== 'number' && typeof key !== 'bigint' && typeof key !== 'string') throw refused('map key is neither integer nor text')
      const spelt = this.#data.subarray(start, this.at)
      if (before !== null && order(before, spelt) >= 0) throw refused('map keys out of order or twice')
      before = spelt
      map.set(key, this.value(level + 1))
    }
    return map
  }

  #text(size: number): string {
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(this.#take(size))
    } catch (error) {
      if (error instanceof TypeError) throw refused('text that is not UTF-8')
      throw error
    }
  }

  #argument(additional: number): bigint {
    if (additional < 24) return BigInt(additional)
    const size = ADDITIONAL_BYTES.get(additional)
    if (size === undefined) throw refused('indefinite lengths are not allowed')
    let argument = 0n
    for (const byte of this.#take(size)) argument = (argument << 8n) | BigInt(byte)
    if (argument < HEAD_LEAST.get(additional)!) throw refused('head is not the shortest')
    return argument
  }

  /** A length: of no more than there is, so that a head of 9 bytes cannot ask for memory. */
  #size(argument: bigint): number {
    if (argument > BigInt(this.#data.length - this.at)) throw refused('ends early')
    return Number(argument)
  }

  #enter(level: number): void {
    if (level >= this.#depth) throw refused(`nested deeper than ${this.#depth}`)
  }

  #take(size: number): Bytes {
    if (this.at + size > this.#data.length) throw refused('ends early')
    this.at += size
    return new Uint8Array(this.#data.subarray(this.at - size, this.at))
  }
}

/** Spell a value of this profile; throws LocalProtocolError for what it forbids. */
export function encode(value: Value, depth: number = DEPTH_MOST): Bytes {
  if (value === null) return Uint8Array.of(0xf6)
  if (typeof value === 'boolean') return Uint8Array.of(value ? 0xf5 : 0xf4)
  if (typeof value === 'number' || typeof value === 'bigint') {
    if (typeof value === 'number' && !Number.isSafeInteger(value)) throw new LocalProtocolError(`CBOR: ${value} is no integer`)
    return value >= 0 ? head(0, BigInt(value)) : head(1, -1n - BigInt(value))
  }
  if (typeof value === 'string') {
    const text = utf8(value)
    return concat(head(3, BigInt(text.length)), text)
  }
  if (value instanceof Uint8Array) return concat(head(2, BigInt(value.length)), value)
  if (depth === 0) throw new LocalProtocolError('CBOR: nested too deeply')
  if (Array.isArray(value)) return concat(head(4, BigInt(value.length)), ...value.map((each) => encode(each, depth - 1)))
  const entries = Array.from(value, ([key, each]) => [encode(key), encode(each, depth - 1)] as const).sort((one, other) => order(one[0], other[0]))
  return concat(head(5, BigInt(entries.length)), ...entries.flat())
}

function head(major: number, argument: bigint): Bytes {
  if (argument < 24n) return Uint8Array.of((major << 5) | Number(argument))
  for (const [additional, size] of ADDITIONAL_BYTES) {
    if (argument < 1n << BigInt(8 * size)) return concat(Uint8Array.of((major << 5) | additional), bigEndian(argument, size))
  }
  throw new LocalProtocolError(`CBOR: ${argument} does not fit a head`)
}

function order(one: Uint8Array, other: Uint8Array): number {
  if (one.length !== other.length) return one.length - other.length
  const at = one.findIndex((byte, index) => byte !== other[index])
  return at < 0 ? 0 : one[at]! - other[at]!
}

function small(value: bigint): number | bigint {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : value
}

function refused(problem: string): PeerProtocolError {
  return new PeerProtocolError(`CBOR: ${problem}`)
}
