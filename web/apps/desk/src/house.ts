/**
 * What the desk asks of the building (edge/api), and how its answers read.
 *
 * Never throws for what the line or the building does. An act whose answer did not come may have happened: it is `unknown`, and
 * what stands is read anew. What cannot be read of an answer is left out and counted, never guessed.
 */

export type Fetch = (address: URL, init: RequestInit) => Promise<Response>

export type Said =
  | { kind: 'done'; body: Record<string, unknown> }
  /** Certainly nothing happened. `detail` is the building's own sentence, in English. */
  | { kind: 'refused'; status: number; reason: string; detail: string }
  /** It may have happened. */
  | { kind: 'unknown' }
  /** It answers nobody; nothing was asked that changes anything. */
  | { kind: 'away' }

export interface About {
  property: string
  name: string | null
  zone: string | null
  /** Where the guest's own page comes from. */
  cloud: URL | null
  codes: boolean
  atMs: number
}

export interface Link {
  /** False: this building has no cloud at all. */
  isConfigured: boolean
  isConnected: boolean
  /** Since when the cloud has answered nothing; null: it has not since the building's program began. */
  heardAgeMs: number | null
  /** Records that the cloud has not confirmed yet; null: nobody counts them. */
  waiting: number | null
}

export type StayState = 'planned' | 'ready' | 'in_house' | 'left' | 'void'

export interface Stay {
  id: string
  room: string | null
  state: StayState
  guest: string | null
  booking: string
  fromMs: number
  untilMs: number
  decidedBy: string | null
  untilBy: string | null
  /** Decided here, and the cloud's own list does not say so yet. */
  isAhead: boolean
}

export interface Stays {
  /** When the cloud wrote the list; null: it never sent one. */
  asOfMs: number | null
  stays: readonly Stay[]
  unread: number
}

export interface PhoneKey {
  phone: string
  /** What it is called here: the first letters of its digest. */
  name: string
  isMain: boolean
  sinceMs: number
  untilMs: number
  usedMs: number | null
  isWithdrawn: boolean
  hasEnded: boolean
  /** Doors that may still take it. */
  waiting: number
}

export interface Code {
  stay: string
  property: string
  token: string
  untilMs: number
}

const ANSWER_WAIT_MS = 20_000
const STATES: readonly StayState[] = ['planned', 'ready', 'in_house', 'left', 'void']

export async function ask(fetch: Fetch, address: URL, token: string, body?: object): Promise<Said> {
  const lost: Said = body === undefined ? { kind: 'away' } : { kind: 'unknown' }
  const headers: Record<string, string> = { Authorization: `Bearer ${token}` }
  if (body !== undefined) headers['Content-Type'] = 'application/json'
  try {
    const answer = await fetch(address, {
      method: body === undefined ? 'GET' : 'POST', headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      credentials: 'omit', cache: 'no-store', signal: AbortSignal.timeout(ANSWER_WAIT_MS),
    })
    const said: unknown = await answer.json()
    if (!isRecord(said)) return lost
    if (answer.ok) return { kind: 'done', body: said }
    const mayHave = said['may_have_taken_effect']
    if (body !== undefined && (mayHave === true || (answer.status >= 500 && mayHave !== false))) return lost
    return { kind: 'refused', status: answer.status, reason: reasonOf(said), detail: text(said['detail']) ?? '' }
  } catch (error) {
    if (error instanceof TypeError || error instanceof DOMException || error instanceof SyntaxError) return lost
    throw error
  }
}

/** The word for why: a refusal's own, else the last part of the problem's type. */
function reasonOf(said: Record<string, unknown>): string {
  return (text(said['reason']) ?? text(said['type'])?.split(':').at(-1) ?? '').replaceAll('-', '_')
}

export function aboutOf(body: Record<string, unknown>): About | null {
  const [property, atMs, cloud] = [text(body['property']), body['as_of_ms'], text(body['cloud'])]
  if (property === null || !isNumber(atMs)) return null
  return {
    property, atMs, name: text(body['name']), zone: zoneOf(body['zone']), codes: body['codes'] === true,
    cloud: cloud !== null && URL.canParse(cloud) ? new URL(cloud) : null,
  }
}

export function linkOf(body: Record<string, unknown>): Link | null {
  const { configured, connected, last_ack_age_ms: heard, backlog } = body
  if (typeof configured !== 'boolean' || typeof connected !== 'boolean') return null
  const counts = isRecord(backlog) ? Object.values(backlog) : []
  const waiting = counts.length > 0 && counts.every(isNumber) ? counts.reduce((sum, each) => sum + each, 0) : null
  return { isConfigured: configured, isConnected: connected, heardAgeMs: isNumber(heard) ? heard : null, waiting }
}

export function staysOf(body: Record<string, unknown>): Stays | null {
  const { stays, version, as_of_ms: asOf, held_against_document: held } = body
  if (!Array.isArray(stays)) return null
  const ahead = new Set(Array.isArray(held) ? held.map((each: unknown) => (isRecord(each) ? each['stay'] : null)) : [])
  const read = stays.map((each: unknown) => stayOf(each, ahead)).filter((each) => each !== null)
  return { asOfMs: isNumber(version) && version > 0 && isNumber(asOf) ? asOf : null, stays: read, unread: stays.length - read.length }
}

function stayOf(said: unknown, ahead: ReadonlySet<unknown>): Stay | null {
  if (!isRecord(said)) return null
  const { id, expected_from_ms: fromMs, expected_until_ms: untilMs } = said
  const state = STATES.find((each) => each === said['state'])
  if (typeof id !== 'string' || state === undefined || !isNumber(fromMs) || !isNumber(untilMs)) return null
  const untilBy = text(said['until_by'])
  return {
    id, state, fromMs, untilMs, room: text(said['room']), guest: text(said['guest_name']), booking: bookingOf(said['reservation']),
    decidedBy: text(said['decided_by']), untilBy, isAhead: untilBy !== null || ahead.has(id),
  }
}

function bookingOf(said: unknown): string {
  const parts = isRecord(said) ? Object.values(said) : [said]
  return parts.filter((each) => typeof each === 'string').join(' ')
}

export function keysOf(body: Record<string, unknown>): readonly PhoneKey[] | null {
  const { keys } = body
  if (!Array.isArray(keys)) return null
  return keys.flatMap((said: unknown) => {
    if (!isRecord(said)) return []
    const { phone, key, since_ms: sinceMs, not_after_ms: untilMs, used, waiting } = said
    if (typeof phone !== 'string' || typeof key !== 'string' || !isNumber(sinceMs) || !isNumber(untilMs)) return []
    const usedMs = isRecord(used) && used['certain'] === true ? used['at_ms'] : null
    return [{
      phone, name: key.slice(0, 4), isMain: said['main'] === true, sinceMs, untilMs, usedMs: isNumber(usedMs) ? usedMs : null,
      isWithdrawn: said['withdrawn'] === true, hasEnded: said['ended'] === true, waiting: Array.isArray(waiting) ? waiting.length : 0,
    }]
  })
}

export function codeOf(body: Record<string, unknown>): Code | null {
  const { property, stay, token, until_ms: untilMs } = body
  if (typeof property !== 'string' || typeof stay !== 'string' || typeof token !== 'string' || !isNumber(untilMs)) return null
  return { property, stay, token, untilMs }
}

function zoneOf(said: unknown): string | null {
  const zone = text(said)
  try {
    if (zone !== null) new Intl.DateTimeFormat('en', { timeZone: zone })
    return zone
  } catch (error) {
    if (error instanceof RangeError) return null // a zone that this browser has not
    throw error
  }
}

function text(said: unknown): string | null {
  return typeof said === 'string' && /[^\p{Z}\p{C}\s]/u.test(said) ? said : null // a name of nothing to see is none
}

function isNumber(said: unknown): said is number {
  return typeof said === 'number' && Number.isFinite(said)
}

function isRecord(said: unknown): said is Record<string, unknown> {
  return typeof said === 'object' && said !== null && !Array.isArray(said)
}
