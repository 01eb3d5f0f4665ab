/** Keys of other lock systems in a bundle (SPEC.md 9.3): beside a grant of ours, or alone where no door is ours. Secret. */
import { InvalidInputError, UnsupportedVersionError } from './errors'

export const VENDOR_KEYS_MOST = 16
const ROOMS_MOST = 64
const WORDS_MOST = 300

const MEDIA = ['pin', 'card', 'mobile'] as const
const STATES = ['wanted', 'made', 'refused', 'ending', 'ended'] as const
const TRUTHS = ['accepted-by-vendor', 'effective-at-next-presentation', 'online-confirmed'] as const

export interface VendorKey {
  system: string
  /** The rooms' ids. */
  rooms: string[]
  medium: (typeof MEDIA)[number]
  state: (typeof STATES)[number]
  /** How far it is known to be made; null until it is. */
  truth: (typeof TRUTHS)[number] | null
  /** The PIN, or what a phone takes the key with: it opens doors. */
  code: string | null
  notBeforeMs: number
  notAfterMs: number
  /** Which of its doors open from afar, and what a request has to name (SPEC.md 13); null: none. */
  opens: OpensAfar | null
}

export interface OpensAfar {
  property: string
  grant: string
  /** The most that a good answer can be worth. */
  truth: NonNullable<VendorKey['truth']>
  doors: { door: string; room: string }[]
}

/** What a stay has behind locks of other makers alone. */
export interface KeysAlone {
  stay: string
  keys: VendorKey[]
}

type Document = Record<string, unknown>

/** The vendors' keys of a bundle, none where it speaks of none. Throws InvalidInputError, UnsupportedVersionError. */
export function vendorKeysOf(document: unknown, place = 'bundle'): VendorKey[] {
  if (!isObject(document)) throw new InvalidInputError(place, 'not a bundle of version 1')
  if (document['v'] !== undefined && document['v'] !== 1) throw new UnsupportedVersionError('bundle', document['v'])
  if (document['v'] !== 1) throw new InvalidInputError(place, 'not a bundle of version 1')
  const listed = document['vendor_keys'] ?? []
  if (!Array.isArray(listed) || listed.length > VENDOR_KEYS_MOST) throw new InvalidInputError(`${place}: vendor_keys`, `not a list of at most ${VENDOR_KEYS_MOST}`)
  return listed.map((each: unknown, at) => keyOf(each, `${place}: vendor_keys[${at}]`))
}

/** The document of a stay without any door of ours; null: it is another bundle. Throws as `vendorKeysOf`. */
export function keysAloneOf(document: unknown, place = 'bundle'): KeysAlone | null {
  if (!isObject(document) || 'grant' in document || !('vendor_keys' in document)) return null
  const keys = vendorKeysOf(document, place)
  const { stay, doors } = document
  if (!isText(stay) || !Array.isArray(doors) || doors.length > 0 || keys.length === 0) throw new InvalidInputError(place, 'neither a grant nor keys of other systems')
  return { stay, keys }
}

function keyOf(document: unknown, place: string): VendorKey {
  if (!isObject(document)) throw new InvalidInputError(place, 'not a key of another lock system')
  const { system, rooms, medium, state, truth, code, not_before_ms: notBeforeMs, not_after_ms: notAfterMs, problem, may_have_taken_effect: mayHave } = document
  const isWhole = isText(system) && Array.isArray(rooms) && rooms.length > 0 && rooms.length <= ROOMS_MOST && rooms.every(isText)
    && isOf(MEDIA, medium) && isOf(STATES, state) && (truth === null || isOf(TRUTHS, truth)) && (code === null || isText(code))
    && isMs(notBeforeMs) && isMs(notAfterMs) && (problem === null || isText(problem)) && typeof mayHave === 'boolean'
  if (!isWhole) throw new InvalidInputError(place, 'not a key of another lock system')
  const told = document['opens'] ?? null
  return { system, rooms, medium, state, truth, code, notBeforeMs, notAfterMs, opens: told === null ? null : opensOf(told, rooms, `${place}: opens`) }
}

function opensOf(document: unknown, rooms: readonly string[], place: string): OpensAfar {
  if (!isObject(document)) throw new InvalidInputError(place, 'does not say what opens from afar')
  const { property, grant, truth, doors } = document
  if (!isName(property) || !isName(grant) || !isOf(TRUTHS, truth) || !Array.isArray(doors) || doors.length === 0 || doors.length > ROOMS_MOST) throw new InvalidInputError(place, 'does not say what opens from afar')
  return {
    property,
    grant,
    truth,
    doors: doors.map((each: unknown) => {
      if (!isObject(each) || !isName(each['door']) || !isText(each['room']) || !rooms.includes(each['room'])) throw new InvalidInputError(place, "a door is none of the key's rooms")
      return { door: each['door'], room: each['room'] }
    }),
  }
}

function isObject(value: unknown): value is Document {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

const isText = (value: unknown): value is string => typeof value === 'string' && value.length > 0 && value.length <= WORDS_MOST
const isName = (value: unknown): value is string => typeof value === 'string' && /^[a-z0-9-]{1,100}$/u.test(value)
const isMs = (value: unknown): value is number => typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
const isOf = <T extends string>(list: readonly T[], value: unknown): value is T => list.includes(value as T)
