/** The bundle (SPEC.md 9.3): a grant, and what a phone needs to find and open its doors with no network. Secret. */
import type { DoorKeys } from './advert'
import { type Bytes, fromBase64, fromHex } from './bytes'
import { InvalidInputError, PeerProtocolError, UnsupportedVersionError } from './errors'
import { POINT_BYTES, uncompressed } from './point'

export const DOORS_MOST = 64
export const WEEKS_MOST = 8
const LABEL_CHARACTERS_MOST = 80
const MS_MOST = 2 ** 32 * 1000

/** One door of a bundle. `label` is what the guest reads. */
export interface BundleDoor {
  door: string
  label: string
  keys: DoorKeys
}

export interface Bundle {
  stay: string
  grant: Bytes
  certificate: Bytes
  /** When the grant begins and ends, unix milliseconds. */
  notBeforeMs: number
  notAfterMs: number
  doors: BundleDoor[]
}

type Document = Record<string, unknown>

/** Read a bundle's JSON document. Throws InvalidInputError, UnsupportedVersionError: place and field, never a secret. */
export function bundleOf(document: unknown, place = 'bundle'): Bundle {
  if (!isObject(document)) throw new InvalidInputError(place, 'not a bundle of version 1')
  if (document['v'] !== undefined && document['v'] !== 1) throw new UnsupportedVersionError('bundle', document['v'])
  const { doors, not_before_ms: notBeforeMs, not_after_ms: notAfterMs } = document
  if (document['v'] !== 1 || !isMs(notBeforeMs) || !isMs(notAfterMs) || !Array.isArray(doors) || doors.length > DOORS_MOST) {
    throw new InvalidInputError(place, 'not a bundle of version 1')
  }
  return {
    stay: text(document, 'stay', place),
    grant: encoded(document, 'grant', place),
    certificate: encoded(document, 'issuer_certificate', place),
    notBeforeMs,
    notAfterMs,
    doors: doors.map((door: unknown, at) => doorOf(door, `${place}: doors[${at}]`)),
  }
}

function doorOf(document: unknown, place: string): BundleDoor {
  if (!isObject(document) || !isObject(document['eik'])) throw new InvalidInputError(place, 'not a door of a bundle of version 1')
  const weeks = Object.entries(document['eik'])
  if (weeks.length > WEEKS_MOST) throw new InvalidInputError(place, `keys of ${weeks.length} weeks, at most ${WEEKS_MOST}`)
  const sLock = octets(document['s_lock'], POINT_BYTES, `${place}: s_lock`)
  try {
    uncompressed(sLock)
  } catch (error) {
    if (error instanceof PeerProtocolError) throw new InvalidInputError(`${place}: s_lock`, error.message)
    throw error
  }
  const keys: DoorKeys = {
    lockId: octets(document['lock'], 8, `${place}: lock`),
    sLock,
    eikByWeek: new Map(
      weeks.map(([week, key]) => {
        if (!/^[0-9]{1,6}$/u.test(week)) throw new InvalidInputError(`${place}: eik`, 'not a week number')
        return [Number(week), octets(key, 16, `${place}: eik[${week}]`)]
      }),
    ),
    fallback: octets(document['fallback'], 16, `${place}: fallback`),
  }
  return { door: text(document, 'door', place), label: text(document, 'label', place), keys }
}

function isObject(value: unknown): value is Document {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isMs(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= MS_MOST
}

function text(document: Document, name: string, place: string): string {
  const value = document[name]
  if (typeof value !== 'string' || value.length === 0 || value.length > LABEL_CHARACTERS_MOST) throw new InvalidInputError(`${place}: ${name}`, 'not a short text')
  return value
}

function octets(value: unknown, size: number, place: string): Bytes {
  const bytes = typeof value === 'string' ? fromHex(value) : null
  if (bytes === null || bytes.length !== size) throw new InvalidInputError(place, `not ${size} bytes in hexadecimal`)
  return bytes
}

function encoded(document: Document, name: string, place: string): Bytes {
  const value = document[name]
  const bytes = typeof value === 'string' ? fromBase64(value) : null
  if (bytes === null || bytes.length === 0) throw new InvalidInputError(`${place}: ${name}`, 'not base64')
  return bytes
}
