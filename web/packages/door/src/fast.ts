/**
 * FAST (SPEC.md 10): what the phone keeps of a lock that let it in, so that the next visit takes no public-key work.
 * Each use replaces the secret. It opens this one lock, 50 times in 7 days at most: keep it as the bundle is kept, and by
 * `deriving` where it outlives the page, so that no script can carry it off.
 */
import { type Bytes, concat, utf8 } from './bytes'
import { KIND } from './messages'
import { derive, gcmKey, sha256 } from './primitives'
import { Direction, type SessionKeys } from './session'

const TRANSCRIPT_LABEL = utf8('innkeeper/door/1 fast transcript\0')
const ID_BYTES = 8
const STREAM_BYTES = 112

export interface FastKeys {
  /** FAST as it is sent. */
  message: Bytes
  session: SessionKeys
  /** Replaces the secret when the lock has answered. */
  following: Bytes
}

/** What is kept of a lock: 32 bytes, or the same as WebCrypto holds them. */
export type Resumption = Bytes | CryptoKey

/** Everything of a FAST exchange that `secret` (32 bytes) yields for one challenge. */
export async function fastKeys(secret: Resumption, lockId: Bytes, sLock: Bytes, challenge: Bytes, userVerified: boolean): Promise<FastKeys> {
  const id = await derive(secret, lockId, utf8('fast id'), ID_BYTES)
  const head = concat(Uint8Array.of(KIND.FAST), id, Uint8Array.of(userVerified ? 1 : 0))
  const transcript = await sha256(concat(TRANSCRIPT_LABEL, lockId, sLock, challenge, head))
  const stream = await derive(secret, transcript, utf8('fast'), STREAM_BYTES)
  const [toLock, toPhone] = await Promise.all([gcmKey(stream.slice(16, 48)), gcmKey(stream.slice(48, 80))])
  const session = { transcript, toLock: new Direction(toLock), toPhone: new Direction(toPhone), resumption: new Uint8Array(0) }
  return { message: concat(head, stream.slice(0, 16)), session, following: stream.slice(80, 112) }
}
