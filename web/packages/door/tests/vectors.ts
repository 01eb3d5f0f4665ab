/** The golden vectors, read from where Python and firmware read them. */
import type { BundleDoor, DoorKeys } from '../src'
import { type Bytes, fromHex } from '../src/bytes'
import type { Request } from '../src/phone'
import { sign } from './reference'

/** What JSON holds; a vector that is not of its form fails the test that reads it. */
export type Json = Record<string, any>

const FILES = import.meta.glob<Json>('../../../../protocols/vectors/{door,grant}/*.json', { eager: true, import: 'default' })

/** The document at e.g. `door/frames`. */
export function vector(name: string): Json {
  const found = Object.entries(FILES).find(([path]) => path.endsWith(`/${name}.json`))?.[1]
  if (found === undefined || found['v'] !== 1) throw new Error(`no vector ${name} of version 1`)
  return found
}

/** The list called `field` of a document, one test case each. */
export const cases = (name: string, field: string): Json[] => vector(name)[field] as Json[]

const TEXTS = import.meta.glob<string>('../../../../protocols/vectors/grant/*.json', { eager: true, query: '?raw', import: 'default' })

/** The whole numbers under `key` of a document such as `grant/grants`, in its order and digit by digit: JSON.parse rounds beyond 2^53. */
export function digits(name: string, key: string): bigint[] {
  const text = Object.entries(TEXTS).find(([path]) => path.endsWith(`/${name}.json`))?.[1] ?? ''
  return [...text.matchAll(new RegExp(`"${key}": (\\d+)`, 'gu'))].map(([, said]) => BigInt(said!))
}

/** All exchanges by name: how each must be said by a phone. */
export const EXCHANGES = Object.keys(FILES).flatMap((path) => /\/(exchange_\w+)\.json$/u.exec(path)?.[1] ?? []).sort()

export function bytes(text: string): Bytes {
  const read = fromHex(text)
  if (read === null) throw new Error(`not hexadecimal: ${text}`)
  return read
}

export function doorKeysOf(known: Json): DoorKeys {
  return {
    lockId: bytes(known['lock_id']),
    sLock: bytes(known['s_lock']),
    eikByWeek: new Map(Object.entries(known['eik_by_week'] as Record<string, string>).map(([week, key]) => [Number(week), bytes(key)])),
    fallback: bytes(known['fallback']),
  }
}

export function requestOf(said: Json, phoneKey: string): Request {
  const form = said['form'] === 0 ? 'whole' : 'id'
  switch (said['kind']) {
    case 'Unlock':
      return {
        kind: 'unlock',
        grant: bytes(said['grant']),
        certificate: bytes(said['certificate']),
        form,
        userVerified: said['user_verified'],
        sign: (statement) => sign(bytes(phoneKey), statement),
        ...(said['resumption'] === undefined ? {} : { resumption: bytes(said['resumption']) }),
      }
    case 'Carry':
      return { kind: 'carry', signed: bytes(said['signed']), certificate: bytes(said['certificate']), form }
    case 'Fetch':
      return { kind: 'fetch', afterSeq: said['after_seq'] }
    case 'Latch':
      return {
        kind: 'latch',
        hold: said['hold'],
        grant: bytes(said['grant']),
        certificate: bytes(said['certificate']),
        form,
        userVerified: said['user_verified'],
        sign: (statement) => sign(bytes(phoneKey), statement),
      }
    case 'Resume':
      return { kind: 'resume' }
    case 'AskStatus':
      return { kind: 'status' }
    default:
      throw new Error(`no request ${said['kind']}`)
  }
}

export const labels = (doors: readonly BundleDoor[]): string[] => doors.map((door) => door.label)
