/**
 * A request to open a door of another lock system from afar (SPEC.md 13). The phone's own key signs it, for one door and for half a
 * minute; whoever carries it can lose it and cannot make one. The time in it is the phone's own, never one that a server told: else
 * the server could gather requests for later.
 */
import { type Bytes, bigEndian, concat, utf8 } from './bytes'
import { LocalProtocolError } from './errors'
import { signEs256 } from './primitives'

export const REMOTE_OPEN_ID_BYTES = 16
const VERSION = 1
const ISSUED_AT_MOST_MS = 2 ** 53
const LABEL = utf8('innkeeper/door/1 remote open\0')
const NAME = /^[a-z0-9-]{1,100}$/u

export interface OpenTerms {
  /** 16 random bytes, new for each request. */
  id: Uint8Array
  /** Unix ms by this phone's clock. */
  issuedAtMs: number
  property: string
  grant: string
  door: string
}

/** Why the house opened nothing (SPEC.md 13.2). */
export const OPEN_REFUSALS = [
  'unsupported_version', 'malformed', 'wrong_property', 'time_uncertain', 'unknown_key', 'bad_signature', 'late', 'ahead', 'before_start', 'ended', 'not_made',
  'not_yet_valid', 'expired', 'wrong_door', 'no_remote_opening', 'locked_out', 'replayed', 'busy',
] as const
export type OpenRefusal = (typeof OPEN_REFUSALS)[number]

/** What came of a request (SPEC.md 13.3). */
export const OPEN_OUTCOMES = ['online-confirmed', 'accepted-by-vendor', 'unknown', 'busy', 'off_line', 'no', 'refused'] as const
export type OpenOutcome = (typeof OPEN_OUTCOMES)[number]

/** The bytes before the signature. Throws LocalProtocolError: a part that no request can hold. */
export function openStatement({ id, issuedAtMs, property, grant, door }: OpenTerms): Bytes {
  if (id.length !== REMOTE_OPEN_ID_BYTES) throw new LocalProtocolError(`request id of ${id.length} bytes, not ${REMOTE_OPEN_ID_BYTES}`)
  if (!Number.isInteger(issuedAtMs) || issuedAtMs < 0 || issuedAtMs > ISSUED_AT_MOST_MS) throw new LocalProtocolError(`request issued at ${issuedAtMs}`)
  const names = [property, grant, door].map((name) => {
    if (!NAME.test(name)) throw new LocalProtocolError(`request that names ${JSON.stringify(name.slice(0, 100))}`)
    return concat(bigEndian(name.length, 1), utf8(name))
  })
  return concat(bigEndian(VERSION, 1), id, bigEndian(issuedAtMs, 8), ...names)
}

/** What the phone's key signs: the statement in a domain of its own. */
export const openToSign = (statement: Uint8Array): Bytes => concat(LABEL, statement)

/** The request as it travels. Throws as `openStatement`. */
export async function openRequest(key: CryptoKey, terms: OpenTerms): Promise<Bytes> {
  const statement = openStatement(terms)
  return concat(statement, await signEs256(key, openToSign(statement)))
}
