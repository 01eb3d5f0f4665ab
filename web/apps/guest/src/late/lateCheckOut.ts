/**
 * Leaving later on the last day: GET, POST and DELETE /api/v1/properties/{p}/stays/{s}/late-check-out. Asks the cloud alone, and
 * wakes no hotel. What is not of its form is no answer; nothing here is kept.
 */
import type { CheckInInvitation } from '../arrival'
import type { Fetch } from '../checkIn'

const LATE_WAIT_MS = 15_000
const HALF_HOUR_MS = 30 * 60_000
/** So many hours are offered at most: a stay ends on its day. */
const HOURS_MOST = 25

export const LATE_TROUBLES = ['offline', 'unanswered', 'signed_out', 'not_offered', 'not_in_house', 'over', 'not_later', 'too_late', 'asked_already', 'refused_already', 'too_often', 'strange'] as const
export type LateTrouble = (typeof LATE_TROUBLES)[number]

const STATES = ['asked', 'granted', 'refused', 'withdrawn', 'lapsed', 'overtaken'] as const
export type LateState = (typeof STATES)[number]

export interface LateWish {
  untilMs: number
  state: LateState
  /** What the desk wrote to it. */
  reason: string | null
}

export interface LateCheckOut {
  mayAsk: boolean
  /** Of the hotel: its hours are said, not the phone's. */
  zone: string
  endsMs: number
  latestMs: number | null
  /** The doors open until `endsMs`; false: they have not heard of it yet. */
  houseKnows: boolean
  wish: LateWish | null
}

export type LateTold = { kind: 'late'; late: LateCheckOut } | { kind: 'trouble'; trouble: LateTrouble }

/** What the guest wants: to look, to ask for an hour (`HH:MM`), or to take back what he asked for. */
export type LateAct = { kind: 'look' } | { kind: 'ask'; until: string } | { kind: 'withdraw' }

/** Never throws for what the line or the cloud does. */
export async function lateCheckOut({ property, stay, token }: CheckInInvitation, root: URL, fetch: Fetch, act: LateAct): Promise<LateTold> {
  const address = new URL(`api/v1/properties/${encodeURIComponent(property)}/stays/${encodeURIComponent(stay)}/late-check-out`, root)
  const headers = { Authorization: `Bearer ${token}` }
  const asked: RequestInit =
    act.kind === 'ask'
      ? { method: 'POST', headers: { ...headers, 'Content-Type': 'application/json' }, body: JSON.stringify({ until: act.until }) }
      : { method: act.kind === 'look' ? 'GET' : 'DELETE', headers }
  let answer: Response
  let body: unknown
  try {
    answer = await fetch(address, { ...asked, credentials: 'omit', cache: 'no-store', signal: AbortSignal.timeout(LATE_WAIT_MS) })
    body = await answer.json()
  } catch (error) {
    if (error instanceof SyntaxError) return trouble('strange')
    if (error instanceof TypeError) return trouble('offline')
    if (error instanceof DOMException) return trouble('unanswered')
    throw error
  }
  if (answer.ok) {
    const late = readLate(body)
    return late === null ? trouble('strange') : { kind: 'late', late }
  }
  const reason = LATE_TROUBLES.find((each) => each === recordOf(body)?.['reason'])
  if (reason !== undefined) return trouble(reason)
  return trouble([401, 403, 404].includes(answer.status) ? 'signed_out' : 'strange')
}

/** Read the answer; null: it is not of its form. */
export function readLate(body: unknown): LateCheckOut | null {
  const said = recordOf(body)
  if (said === null) return null
  const { zone, why_not: whyNot, house_knows: houseKnows } = said
  const endsMs = momentOf(said['ends_at'])
  const wish = said['wish'] === null ? null : wishOf(said['wish'])
  if (typeof zone !== 'string' || !isZone(zone) || typeof houseKnows !== 'boolean' || endsMs === null || wish === undefined) return null
  if (whyNot !== null && typeof whyNot !== 'string') return null
  return { mayAsk: whyNot === null, zone, endsMs, latestMs: momentOf(said['latest']), houseKnows, wish }
}

/** How a wish stands for the guest: that nobody answered in time his page says too once his link has ended with his stay. */
export function standing({ endsMs }: LateCheckOut, { state }: LateWish, nowMs: number): LateState {
  return state === 'asked' && nowMs >= endsMs ? 'lapsed' : state
}

/** The hours that may be asked for, each half hour and the last one, as the hotel's clocks say them: earliest first. */
export function hoursOf({ mayAsk, endsMs, latestMs, wish, zone }: LateCheckOut): string[] {
  if (!mayAsk || latestMs === null) return []
  const beforeMs = wish?.state === 'refused' ? wish.untilMs : Number.POSITIVE_INFINITY
  const hours: number[] = []
  for (let at = (Math.floor(endsMs / HALF_HOUR_MS) + 1) * HALF_HOUR_MS; at < latestMs && hours.length < HOURS_MOST; at += HALF_HOUR_MS) hours.push(at)
  if (latestMs > endsMs) hours.push(latestMs)
  return hours.filter((at) => at < beforeMs).map((at) => hourIn(at, zone))
}

/** “13:00”, by the clocks of a zone. */
export function hourIn(atMs: number, zone: string): string {
  return new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', hourCycle: 'h23', timeZone: zone }).format(atMs)
}

function wishOf(value: unknown): LateWish | undefined {
  const said = recordOf(value)
  const untilMs = momentOf(said?.['until'])
  const state = STATES.find((each) => each === said?.['state'])
  const reason = said?.['reason'] ?? null
  if (untilMs === null || state === undefined || (reason !== null && typeof reason !== 'string')) return undefined
  return { untilMs, state, reason }
}

function isZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en-GB', { timeZone: name })
    return true
  } catch (error) {
    if (error instanceof RangeError) return false
    throw error
  }
}

function momentOf(value: unknown): number | null {
  const atMs = typeof value === 'string' ? Date.parse(value) : Number.NaN
  return Number.isNaN(atMs) ? null : atMs
}

const recordOf = (value: unknown): Record<string, unknown> | null => (typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null)

function trouble(which: LateTrouble): LateTold {
  return { kind: 'trouble', trouble: which }
}
