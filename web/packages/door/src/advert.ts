/** Adverts (SPEC.md 3): they name a door to those who hold its keys and nothing to anybody else. */
import { type Bytes, bigEndian, concat, equal, utf8 } from './bytes'
import { PeerProtocolError, UnsupportedVersionError } from './errors'
import { aesBlock, derive, hmac } from './primitives'

export const SERVICE_UUID = '1d9c5e00-7a4b-4c63-9e0f-6b0a86f4d2c1'
/** Phone to lock: one frame a write. */
export const TX_UUID = '1d9c5e01-7a4b-4c63-9e0f-6b0a86f4d2c1'
/** Lock to phone: one frame a notification; a read returns the frame notified last. */
export const RX_UUID = '1d9c5e02-7a4b-4c63-9e0f-6b0a86f4d2c1'

export const ADVERT_VERSION = 1
export const ADVERT_BYTES = 10
export const SLOT_S = 512
export const SLOTS_AROUND = 2
export const WEEK_S = 604_800
const DAY_S = 86_400
const ROTATION_BITS = 9

/** The service data of one advert. */
export interface Advert {
  id: Bytes
  batteryLow: boolean
  timeUncertain: boolean
  wantsSync: boolean
  privacyOn: boolean
}

/** What a phone knows of one lock, from its bundle. */
export interface DoorKeys {
  lockId: Bytes
  /** The lock's static public key, compressed. */
  sLock: Bytes
  /** Advert keys by week. */
  eikByWeek: ReadonlyMap<number, Bytes>
  /** Stands in for them while the lock has no certain time. */
  fallback: Bytes
}

/** Read service data; reserved status bits are ignored. Throws PeerProtocolError, UnsupportedVersionError. */
export function decodeAdvert(data: Uint8Array): Advert {
  if (data.length === 0) throw new PeerProtocolError('empty door advert')
  if (data[0] !== ADVERT_VERSION) throw new UnsupportedVersionError('door advert', data[0])
  if (data.length !== ADVERT_BYTES) throw new PeerProtocolError(`door advert of ${data.length} bytes, not ${ADVERT_BYTES}`)
  const bits = data[9]!
  return {
    id: new Uint8Array(data.subarray(1, 9)),
    batteryLow: (bits & 1) !== 0,
    timeUncertain: (bits & 2) !== 0,
    wantsSync: (bits & 4) !== 0,
    privacyOn: (bits & 8) !== 0,
  }
}

export const weekOf = (atS: number): number => Math.floor(atS / WEEK_S)

/** The 8-byte id shown at `atS` under the weekly key (Eddystone-EID, K = 9). */
export async function rotatingId(eik: Bytes, atS: number): Promise<Bytes> {
  const time = bigEndian(atS, 4)
  const temporary = await aesBlock(eik, concat(new Uint8Array(11), Uint8Array.of(0xff, 0, 0), time.subarray(0, 2)))
  const rounded = bigEndian(Math.floor(atS / SLOT_S) * SLOT_S, 4)
  const block = await aesBlock(temporary, concat(new Uint8Array(11), Uint8Array.of(ROTATION_BITS), rounded))
  return block.slice(0, 8)
}

/** The fixed id that a lock without certain time shows. */
export async function fallbackId(fallback: Bytes): Promise<Bytes> {
  return (await hmac(fallback, utf8('id'))).slice(0, 8)
}

/**
 * The ids by which a lock may be recognised at `atS`: 2 slots each way, and the fallback id. A slot in which a week ends
 * has two: the lock changes its key when its own clock says so, not when ours does.
 */
export async function idsAround(door: DoorKeys, atS: number): Promise<Bytes[]> {
  const ids = [fallbackId(door.fallback)]
  for (let slot = -SLOTS_AROUND; slot <= SLOTS_AROUND; slot += 1) {
    const beginsS = (Math.floor(atS / SLOT_S) + slot) * SLOT_S
    for (const week of new Set([weekOf(beginsS), weekOf(beginsS + SLOT_S - 1)])) {
      const eik = door.eikByWeek.get(week)
      if (eik !== undefined) ids.push(rotatingId(eik, beginsS))
    }
  }
  return Promise.all(ids)
}

/** Whether `door` shows `advert` at `atS`. */
export async function shows(door: DoorKeys, advert: Advert, atS: number): Promise<boolean> {
  return (await idsAround(door, atS)).some((id) => equal(id, advert.id))
}

/** The daily gate key: from the weekly key, or the fallback key while the lock's time is uncertain. */
export async function gateKey(advertKey: Bytes, lockId: Bytes, lockTimeS: number): Promise<Bytes> {
  return derive(advertKey, lockId, concat(utf8('gate'), bigEndian(Math.floor(lockTimeS / DAY_S), 4)), 32)
}

/** The 4 bytes that spare the lock the public-key work for those who do not hold its keys. */
export async function gateTag(key: Bytes, nonce: Bytes, ePhone: Bytes): Promise<Bytes> {
  return (await hmac(key, concat(nonce, ePhone))).slice(0, 4)
}
