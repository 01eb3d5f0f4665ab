/**
 * Opens a door of another lock system from afar: the phone signs, the cloud carries, the hotel judges (protocols/door/SPEC.md 13).
 * POST /api/v1/properties/{p}/stays/{s}/door-openings. Asked once: what may have happened is never asked again by itself.
 */
import { type Bytes, hex, OPEN_OUTCOMES, OPEN_REFUSALS, type OpenOutcome, type OpenRefusal, type OpensAfar, type VendorKey } from '@innkeeper/door'
import type { CheckInInvitation } from './arrival'
import type { Fetch } from './checkIn'

/** The cloud gives up sooner; and no request opens anything later than this. */
export const OPENING_WAIT_MS = 30_000

/** What is said of an opening from afar, in one word for the page. Only the first two are a door that may be open now. */
export const REMOTE_SAID = [
  'opened', 'accepted', 'unknown', 'busy', 'off_line', 'no', 'not_yours', 'not_now', 'late', 'again', 'hotel_clock', 'locked_out', 'phone_off_line', 'hotel_away', 'signed_out', 'strange',
] as const
export type RemoteSaid = (typeof REMOTE_SAID)[number]

const OUTCOMES: Record<Exclude<OpenOutcome, 'refused'>, RemoteSaid> = {
  'online-confirmed': 'opened',
  'accepted-by-vendor': 'accepted',
  unknown: 'unknown',
  busy: 'busy',
  off_line: 'off_line',
  no: 'no',
}

const REFUSALS: Record<OpenRefusal, RemoteSaid> = {
  unsupported_version: 'not_yours',
  malformed: 'not_yours',
  wrong_property: 'not_yours',
  time_uncertain: 'hotel_clock',
  unknown_key: 'not_yours',
  bad_signature: 'not_yours',
  late: 'late',
  ahead: 'late',
  before_start: 'again',
  ended: 'not_yours',
  not_made: 'not_yours',
  not_yet_valid: 'not_now',
  expired: 'not_now',
  wrong_door: 'not_yours',
  no_remote_opening: 'not_yours',
  locked_out: 'locked_out',
  replayed: 'again',
  busy: 'busy',
}

/** The doors of a key that this phone may open from afar now; none where there is no way to the hotel. */
export function remoteDoorsOf(key: VendorKey, from: CheckInInvitation | null, nowMs: number): OpensAfar['doors'] {
  const stands = (key.state === 'made' || key.state === 'wanted') && nowMs >= key.notBeforeMs && nowMs < key.notAfterMs
  return from !== null && stands && key.opens !== null ? key.opens.doors : []
}

/** Hand a signed request to the hotel. Never throws for what the line, the cloud or the hotel does. */
export async function askToOpen({ property, stay, token }: CheckInInvitation, request: Bytes, root: URL, fetch: Fetch): Promise<RemoteSaid> {
  const address = new URL(`api/v1/properties/${encodeURIComponent(property)}/stays/${encodeURIComponent(stay)}/door-openings`, root)
  let answer: Response
  let body: unknown
  try {
    answer = await fetch(address, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${token}` },
      body: JSON.stringify({ request: hex(request) }),
      credentials: 'omit',
      cache: 'no-store',
      signal: AbortSignal.timeout(OPENING_WAIT_MS),
    })
    body = await answer.json()
  } catch (error) {
    // It may have left before the line broke: nobody can say that it did not.
    if (error instanceof SyntaxError || error instanceof TypeError || error instanceof DOMException) return 'unknown'
    throw error
  }
  const told = typeof body === 'object' && body !== null ? (body as Record<string, unknown>) : {}
  if (answer.ok) return saidOf(told)
  if (answer.status === 401 || answer.status === 403 || answer.status === 404) return 'signed_out'
  if (answer.status === 429) return 'again'
  if (told['reason'] === 'too_late') return 'late'
  if (told['reason'] === 'edge_away' || (answer.status === 503 && told['may_have_taken_effect'] !== true)) return 'hotel_away'
  if (told['reason'] === 'edge_refused' || told['reason'] === 'malformed' || told['reason'] === 'wrong_property') return 'not_yours'
  return answer.status >= 500 ? 'unknown' : 'strange'
}

function saidOf(told: Record<string, unknown>): RemoteSaid {
  const outcome = OPEN_OUTCOMES.find((each) => each === told['outcome'])
  if (outcome === undefined) return 'unknown' // of a hotel that knows more words than this page
  if (outcome !== 'refused') return OUTCOMES[outcome]
  const refusal = OPEN_REFUSALS.find((each) => each === told['reason'])
  return refusal === undefined ? 'strange' : REFUSALS[refusal]
}
