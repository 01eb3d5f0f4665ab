/** Asks the hotel's cloud for the bundle of a stay: POST /api/v1/properties/{p}/stays/{s}/check-in. */
import { hex, utf8 } from '@innkeeper/door'
import type { CheckInInvitation } from './arrival'
import type { CheckInTrouble } from './words'

/** The cloud waits for the hotel within its own deadline, which is shorter. */
export const CHECK_IN_WAIT_MS = 30_000

const REFUSALS: readonly CheckInTrouble[] = ['too_early', 'not_ready', 'ended', 'not_in_house', 'edge_refused', 'edge_away', 'unanswered', 'too_late', 'key_reused', 'steps_open', 'link_used']

export type CheckedIn = { kind: 'bundle'; document: unknown } | { kind: 'refused'; trouble: CheckInTrouble; fromMs: number | null }

export type Fetch = (address: URL, init: RequestInit) => Promise<Response>

/**
 * `root`: where the cloud is served, with a slash at its end. `question` tells one question from the next: whoever got no answer
 * asks the same again. Never throws for what the line or the cloud does.
 */
export async function checkIn(invitation: CheckInInvitation, phoneKey: string, root: URL, fetch: Fetch, question = ''): Promise<CheckedIn> {
  const { property, stay, token } = invitation
  const address = new URL(`api/v1/properties/${encodeURIComponent(property)}/stays/${encodeURIComponent(stay)}/check-in`, root)
  // However often a bad line makes it ask; and however often it asks, the house makes one key for one phone of a stay.
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', utf8(`${property}/${stay}/${phoneKey}${question && `/${question}`}`)))
  let answer: Response
  let body: unknown
  try {
    answer = await fetch(address, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${token}` },
      body: JSON.stringify({ phone_public_key: phoneKey, idempotency_key: hex(digest).slice(0, 40) }),
      credentials: 'omit',
      cache: 'no-store',
      signal: AbortSignal.timeout(CHECK_IN_WAIT_MS),
    })
    body = await answer.json()
  } catch (error) {
    if (error instanceof SyntaxError) return refused('strange')
    if (error instanceof TypeError) return refused('offline')
    if (error instanceof DOMException) return refused('unanswered')
    throw error
  }
  const said = typeof body === 'object' && body !== null ? (body as Record<string, unknown>) : {}
  if (answer.ok) return 'bundle' in said ? { kind: 'bundle', document: said['bundle'] } : refused('strange')
  if (answer.status === 401 || answer.status === 403 || answer.status === 404) return refused('signed_out')
  const trouble = REFUSALS.find((each) => each === said['reason'])
  const from = typeof said['available_from'] === 'string' ? Date.parse(said['available_from']) : Number.NaN
  return refused(trouble ?? 'strange', Number.isNaN(from) ? null : from)
}

function refused(trouble: CheckInTrouble, fromMs: number | null = null): CheckedIn {
  return { kind: 'refused', trouble, fromMs }
}
