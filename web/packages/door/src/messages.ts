/** Messages (SPEC.md 4), byte for byte: what the phone reads and what it says. Nothing here encrypts: session.ts does. */
import { type Bytes, bigEndian, concat, hex, numberOf, utf8 } from './bytes'
import { LocalProtocolError, PeerProtocolError, UnsupportedVersionError } from './errors'
import { sha256 } from './primitives'
import { type Status, statusOf } from './status'

export const CHALLENGE_BYTES = 64
export const RESULT_BYTES = 35
export const RECORDS_IN_CHUNK_MOST = 20

/** First byte of every message but CHAL. */
export const KIND = { OPEN: 0x01, FAST: 0x02, MORE: 0x03, RESULT: 0x81, ERROR: 0x8f } as const
/** Second byte of ERROR: sent in the clear, a hint and never a fact. */
export const ERROR_BUSY = 3
/** To FAST alone: send OPEN, to the same challenge. */
export const ERROR_NEED_FULL = 4
export const QUALITY_UNCERTAIN = 2

const UNLOCK_LABEL = utf8('innkeeper/door/1 unlock\0')
const LATCH_LABEL = utf8('innkeeper/door/1 latch\0')
const QUALITY_MOST = 2
const NOT_MEASURED = 255
const BOLTS = ['unknown', 'locked', 'unlocked', 'not_fully_locked'] as const

/** Where the bolt is, by its own sensor. */
export type Bolt = (typeof BOLTS)[number]

/** Whether a command brings its issuer's whole certificate or its 4-byte id. */
export type CertificateForm = 'whole' | 'id'

/** CHAL, lock to phone, in the clear. */
export interface Challenge {
  timeS: number
  timeQuality: number
  revocationSeq: number
  auditSeq: number
  nonce: Bytes
  eLock: Bytes
}

/** RESULT, as the lock was before any motor moved. `batteryPercent` null: not measured. */
export interface Result {
  status: Status
  auditSeq: number
  timeS: number
  timeQuality: number
  batteryPercent: number | null
  bolt: Bolt
  revocationSeq: number
  generation: number
  chainHead: string
}

/** Read CHAL. Throws UnsupportedVersionError, PeerProtocolError. */
export function decodeChallenge(data: Bytes): Challenge {
  if (data.length > 0 && data[0] !== 1) throw new UnsupportedVersionError('door exchange', data[0])
  if (data.length !== CHALLENGE_BYTES) throw new PeerProtocolError(`CHAL of ${data.length} bytes, not ${CHALLENGE_BYTES}`)
  if (data[1] !== 1) throw new UnsupportedVersionError('door suite', data[1])
  const timeQuality = data[6]!
  if (timeQuality > QUALITY_MOST) throw new PeerProtocolError(`CHAL with time quality ${timeQuality}`)
  return {
    timeS: numberOf(data.subarray(2, 6)),
    timeQuality,
    revocationSeq: numberOf(data.subarray(7, 11)),
    auditSeq: numberOf(data.subarray(11, 15)),
    nonce: data.slice(15, 31),
    eLock: data.slice(31, 64),
  }
}

/** Read the first 35 bytes of a decrypted answer. Throws PeerProtocolError. */
export function decodeResult(data: Bytes): Result {
  if (data.length < RESULT_BYTES) throw new PeerProtocolError(`RESULT of ${data.length} bytes, not ${RESULT_BYTES}`)
  const status = statusOf(data[0]!)
  const timeQuality = data[9]!
  const battery = data[10]!
  const bolt = BOLTS[data[11]!]
  if (status === undefined || timeQuality > QUALITY_MOST) throw new PeerProtocolError(`RESULT with status 0x${hex(data.subarray(0, 1))} and time quality ${timeQuality}`)
  if (battery > 100 && battery !== NOT_MEASURED) throw new PeerProtocolError(`RESULT with battery ${battery} %`)
  if (bolt === undefined) throw new PeerProtocolError(`RESULT with bolt state ${data[11]!}`)
  return {
    status,
    auditSeq: numberOf(data.subarray(1, 5)),
    timeS: numberOf(data.subarray(5, 9)),
    timeQuality,
    batteryPercent: battery === NOT_MEASURED ? null : battery,
    bolt,
    revocationSeq: numberOf(data.subarray(12, 16)),
    generation: numberOf(data.subarray(16, 19)),
    chainHead: hex(data.subarray(19, RESULT_BYTES)),
  }
}

export function encodeUnlock(grant: Bytes, certificate: Bytes, form: CertificateForm, userVerified: boolean, signature: Bytes): Bytes {
  return concat(Uint8Array.of(0x01, userVerified ? 1 : 0, formByte(form)), sized(grant), inForm(certificate, form), signature)
}

export function encodeCarry(signed: Bytes, certificate: Bytes, form: CertificateForm): Bytes {
  return concat(Uint8Array.of(0x02, formByte(form)), sized(signed), inForm(certificate, form))
}

/** Throws LocalProtocolError: more records than an answer holds. */
export function encodeFetch(afterSeq: number, most: number = RECORDS_IN_CHUNK_MOST): Bytes {
  if (!(most >= 1 && most <= RECORDS_IN_CHUNK_MOST)) throw new LocalProtocolError(`FETCH of ${most} records, 1 to ${RECORDS_IN_CHUNK_MOST} are allowed`)
  return concat(Uint8Array.of(0x03), bigEndian(afterSeq, 4), Uint8Array.of(most))
}

export function encodeStatus(): Bytes {
  return Uint8Array.of(0x04)
}

export function encodeResume(): Bytes {
  return Uint8Array.of(0x05)
}

/** What the phone signs: this exchange, this message of it, this grant. */
export async function unlockStatement(transcript: Bytes, counter: number, grant: Bytes, userVerified: boolean): Promise<Bytes> {
  return concat(UNLOCK_LABEL, transcript, bigEndian(counter, 4), Uint8Array.of(userVerified ? 1 : 0), await sha256(grant))
}

/** Hold a common door open, or let it go. */
export function encodeLatch(hold: boolean, grant: Bytes, certificate: Bytes, form: CertificateForm, userVerified: boolean, signature: Bytes): Bytes {
  return concat(Uint8Array.of(0x06, hold ? 1 : 0, userVerified ? 1 : 0, formByte(form)), sized(grant), inForm(certificate, form), signature)
}

/** What the phone signs to hold a door open, or to let it go. */
export async function latchStatement(transcript: Bytes, counter: number, grant: Bytes, hold: boolean, userVerified: boolean): Promise<Bytes> {
  return concat(LATCH_LABEL, transcript, bigEndian(counter, 4), Uint8Array.of(hold ? 1 : 0, userVerified ? 1 : 0), await sha256(grant))
}

const formByte = (form: CertificateForm): number => (form === 'whole' ? 0 : 1)
const sized = (data: Bytes): Bytes => concat(bigEndian(data.length, 2), data)
const inForm = (certificate: Bytes, form: CertificateForm): Bytes => (form === 'whole' ? sized(certificate) : certificate)
