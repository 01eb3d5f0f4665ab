/** The session's keys (SPEC.md 5): two ECDH, one HKDF, AES-256-GCM each way with a counter for a nonce. */
import { type Bytes, bigEndian, concat, utf8 } from './bytes'
import { PeerProtocolError } from './errors'
import { derive, gcmKey, gcmOpen, gcmSeal, sha256 } from './primitives'

const TRANSCRIPT_LABEL = utf8('innkeeper/door/1 transcript\0')
const TAG_BYTES = 16

/** The 32-byte transcript hash: who the lock is and everything sent in the clear so far. */
export async function transcriptOf(lockId: Bytes, sLock: Bytes, challenge: Bytes, ePhone: Bytes): Promise<Bytes> {
  return sha256(concat(TRANSCRIPT_LABEL, lockId, sLock, challenge, ePhone))
}

/** One direction's key and counter. Each message moves the counter, so none is read twice. */
export class Direction {
  counter = 0
  readonly #key: CryptoKey

  constructor(key: CryptoKey) {
    this.#key = key
  }

  /** Encrypt under the next counter; `header` is authenticated. */
  async seal(plaintext: Bytes, header: Bytes): Promise<Bytes> {
    const nonce = this.#nonce()
    this.counter += 1
    return gcmSeal(this.#key, nonce, plaintext, header)
  }

  /** Decrypt under the next counter. Throws PeerProtocolError: not made with this key for this place in the exchange. */
  async open(sealed: Bytes, header: Bytes): Promise<Bytes> {
    if (sealed.length < TAG_BYTES) throw new PeerProtocolError(`sealed message of ${sealed.length} bytes`)
    const plaintext = await gcmOpen(this.#key, this.#nonce(), sealed, header)
    if (plaintext === null) throw new PeerProtocolError('message not sealed for this exchange')
    this.counter += 1
    return plaintext
  }

  #nonce(): Bytes {
    return bigEndian(this.counter, 12)
  }
}

/** Both directions, the transcript that the phone signs, and the secret that FAST may begin with. */
export interface SessionKeys {
  transcript: Bytes
  toLock: Direction
  toPhone: Direction
  resumption: Bytes
}

export async function sessionKeys(staticShared: Bytes, ephemeralShared: Bytes, transcript: Bytes): Promise<SessionKeys> {
  const stream = await derive(concat(staticShared, ephemeralShared), transcript, utf8('keys'), 96)
  const [toLock, toPhone] = await Promise.all([gcmKey(stream.slice(0, 32)), gcmKey(stream.slice(32, 64))])
  return { transcript, toLock: new Direction(toLock), toPhone: new Direction(toPhone), resumption: stream.slice(64, 96) }
}
