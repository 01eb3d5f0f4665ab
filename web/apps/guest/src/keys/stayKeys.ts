/**
 * Who has keys of a stay, as the hotel tells this phone: GET /api/v1/properties/{p}/stays/{s}/keys; the main guest takes one
 * back by POST .../taken-back-keys. What is not of its form is no list; nothing here is kept.
 */
import type { CheckInInvitation } from '../arrival'
import type { Fetch } from '../checkIn'

/** The cloud waits for the hotel within its own deadline, which is shorter. */
const KEYS_WAIT_MS = 30_000

export const KEY_TROUBLES = ['offline', 'unanswered', 'edge_away', 'signed_out', 'not_main', 'own_key', 'edge_refused', 'strange'] as const
export type KeyTrouble = (typeof KEY_TROUBLES)[number]

export interface Elsewhere {
  system: string
  state: 'wanted' | 'made' | 'refused' | 'ending' | 'ended'
}

export interface StayKey {
  key: string
  mine: boolean
  main: boolean
  sinceMs: number | null
  state: 'valid' | 'taken_back' | 'ended'
  /** The last opening that the house has heard of; `certain` false: the lock did not know the time well. */
  used: { atMs: number; certain: boolean; door: string } | null
  /** Doors that may still take a key that was taken back, and when the house last heard from them. */
  waiting: readonly { door: string; contactMs: number | null }[]
  elsewhere: readonly Elsewhere[]
}

export interface StayKeys {
  /** This phone may take others' keys back, and these are all; else only its own is here. */
  takesBack: boolean
  keys: readonly StayKey[]
  others: readonly Elsewhere[]
}

export type Told = { kind: 'keys'; keys: StayKeys } | { kind: 'trouble'; trouble: KeyTrouble }

/** Ask who has keys; with `takeBack` take one back first. Never throws for what the line or the cloud does. */
export async function stayKeys(from: CheckInInvitation, root: URL, fetch: Fetch, takeBack: string | null = null): Promise<Told> {
  const { property, stay, token } = from
  const what = takeBack === null ? 'keys' : 'taken-back-keys'
  const address = new URL(`api/v1/properties/${encodeURIComponent(property)}/stays/${encodeURIComponent(stay)}/${what}`, root)
  const asked: RequestInit =
    takeBack === null
      ? { headers: { Authorization: `Bearer ${token}` } }
      : { method: 'POST', headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${token}` }, body: JSON.stringify({ key: takeBack }) }
  let answer: Response
  let body: unknown
  try {
    answer = await fetch(address, { ...asked, credentials: 'omit', cache: 'no-store', signal: AbortSignal.timeout(KEYS_WAIT_MS) })
    body = await answer.json()
  } catch (error) {
    if (error instanceof SyntaxError) return trouble('strange')
    if (error instanceof TypeError) return trouble('offline')
    if (error instanceof DOMException) return trouble('unanswered')
    throw error
  }
  if (answer.ok) {
    const keys = readKeys(body)
    return keys === null ? trouble('strange') : { kind: 'keys', keys }
  }
  const reason = KEY_TROUBLES.find((each) => each === recordOf(body)?.['reason'])
  if (reason !== undefined) return trouble(reason)
  return trouble([401, 403, 404].includes(answer.status) ? 'signed_out' : 'strange')
}

/** Read the answer; null: it is not of its form. */
export function readKeys(body: unknown): StayKeys | null {
  const said = recordOf(body)
  if (said === null || typeof said['takes_back'] !== 'boolean') return null
  const keys = listOf(said['keys'], keyOf)
  const others = listOf(said['others'], elsewhereOf)
  return keys === null || others === null ? null : { takesBack: said['takes_back'], keys, others }
}

function keyOf(value: unknown): StayKey | null {
  const said = recordOf(value)
  if (said === null) return null
  const { key, mine, main, state } = said
  const waiting = listOf(said['waiting'], waitingOf)
  const elsewhere = listOf(said['elsewhere'], elsewhereOf)
  const used = said['used'] === null ? null : usedOf(said['used'])
  if (typeof key !== 'string' || typeof mine !== 'boolean' || typeof main !== 'boolean' || waiting === null || elsewhere === null || used === undefined) return null
  if (state !== 'valid' && state !== 'taken_back' && state !== 'ended') return null
  return { key, mine, main, sinceMs: momentOf(said['since']), state, used, waiting, elsewhere }
}

function usedOf(value: unknown): StayKey['used'] | undefined {
  const said = recordOf(value)
  const atMs = momentOf(said?.['at'])
  if (said === null || atMs === null || typeof said['door'] !== 'string' || typeof said['certain'] !== 'boolean') return undefined
  return { atMs, certain: said['certain'], door: said['door'] }
}

function waitingOf(value: unknown): StayKey['waiting'][number] | null {
  const said = recordOf(value)
  return said === null || typeof said['door'] !== 'string' ? null : { door: said['door'], contactMs: momentOf(said['contact_at']) }
}

const STATES: readonly Elsewhere['state'][] = ['wanted', 'made', 'refused', 'ending', 'ended']

function elsewhereOf(value: unknown): Elsewhere | null {
  const said = recordOf(value)
  const state = STATES.find((each) => each === said?.['state'])
  return said === null || state === undefined || typeof said['system'] !== 'string' ? null : { system: said['system'], state }
}

function listOf<T>(value: unknown, read: (each: unknown) => T | null): T[] | null {
  if (!Array.isArray(value)) return null
  const found = value.map(read)
  return found.some((each) => each === null) ? null : (found as T[])
}

function momentOf(value: unknown): number | null {
  const atMs = typeof value === 'string' ? Date.parse(value) : Number.NaN
  return Number.isNaN(atMs) ? null : atMs
}

const recordOf = (value: unknown): Record<string, unknown> | null => (typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null)

function trouble(which: KeyTrouble): Told {
  return { kind: 'trouble', trouble: which }
}
