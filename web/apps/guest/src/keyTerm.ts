/** Asks the hotel's cloud until when a stay is booked: GET /api/v1/properties/{p}/stays/{s}/key-term. Cheap; wakes no hotel. */
import type { CheckInInvitation } from './arrival'
import type { Fetch } from './checkIn'

const TERM_WAIT_MS = 10_000
/** A stay that is longer than any key may live gets its next one when less than two days are left: looked at this often. */
const LONG_STAY_EACH_MS = 6 * 3_600_000
const UNANSWERED_EACH_MS = 60_000
const REFUSED_EACH_MS = 10 * 60_000

/** When the stay ends, in unix ms; null: nobody answers just now; 'gone': this link opens nothing any more. */
export async function stayEnds({ property, stay, token }: CheckInInvitation, root: URL, fetch: Fetch): Promise<number | null | 'gone'> {
  const address = new URL(`api/v1/properties/${encodeURIComponent(property)}/stays/${encodeURIComponent(stay)}/key-term`, root)
  try {
    const answer = await fetch(address, { headers: { Authorization: `Bearer ${token}` }, credentials: 'omit', cache: 'no-store', signal: AbortSignal.timeout(TERM_WAIT_MS) })
    if (answer.status === 401 || answer.status === 403 || answer.status === 404) return 'gone'
    const said: unknown = answer.ok ? await answer.json() : null
    const ends = typeof said === 'object' && said !== null && 'ends_at' in said ? Date.parse(String(said.ends_at)) : Number.NaN
    return Number.isNaN(ends) ? null : ends
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError || error instanceof DOMException) return null
    throw error
  }
}

/** When each stay's key is next asked for: at once when the stay has become longer, else seldom. */
export class Renewals {
  readonly #next = new Map<string, { stayEndsMs: number; atMs: number }>()
  readonly #gone = new Set<string>()

  /** Whether a link is still good for a question. */
  isOpen({ token }: CheckInInvitation): boolean {
    return !this.#gone.has(token)
  }

  end({ token }: CheckInInvitation): void {
    this.#gone.add(token)
  }

  isDue(stay: string, keyEndsMs: number, stayEndsMs: number, nowMs: number): boolean {
    if (keyEndsMs >= stayEndsMs) return false
    const next = this.#next.get(stay)
    return next === undefined || next.stayEndsMs !== stayEndsMs || nowMs >= next.atMs
  }

  /** `keyEndsMs`: of the key held after the answer. One that ends before it would be asked for again is the old one still: the house has not heard. */
  asked(stay: string, stayEndsMs: number, nowMs: number, answer: 'key' | 'unanswered' | 'refused', keyEndsMs: number): void {
    const isUnheard = answer === 'key' && keyEndsMs < stayEndsMs && keyEndsMs <= nowMs + LONG_STAY_EACH_MS
    const pause = isUnheard ? UNANSWERED_EACH_MS : { key: LONG_STAY_EACH_MS, unanswered: UNANSWERED_EACH_MS, refused: REFUSED_EACH_MS }[answer]
    this.#next.set(stay, { stayEndsMs, atMs: nowMs + pause })
  }
}
