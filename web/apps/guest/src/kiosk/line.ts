/** What a kiosk asks of the cloud (cloud/public/kiosk_routes.py). Never throws for what the line or the cloud does. */
import type { CheckInInvitation } from '../arrival'
import type { Fetch } from '../checkIn'
import { houseText } from '../house/link'
import type { Edge } from './edge'

export const ANSWER_WAIT_MS = 15_000
const SET_UP = /^#?kiosk=([a-z0-9][a-z0-9-]{0,39})\/(ikk_[A-Za-z0-9_-]{43})$/u

/** Which kiosk this is. */
export interface Place {
  property: string
  token: string
}

export type Trouble = 'not_found' | 'too_many' | 'offline' | 'ended' | 'strange'
export type Begun = { kind: 'visit'; invitation: CheckInInvitation } | { kind: 'refused'; trouble: Trouble }

/** What the link that sets a kiosk up says; null: it is none. */
export function placeOf(text: string): Place | null {
  const [, property, token] = SET_UP.exec(text) ?? []
  return property === undefined || token === undefined ? null : { property, token }
}

export async function beginVisit(place: Place, bookingCode: string, surname: string, root: URL, fetch: Fetch): Promise<Begun> {
  const told = await ask(fetch, new URL(`api/v1/properties/${place.property}/kiosk-visits`, root), 'POST', place.token, { booking_code: bookingCode, surname })
  if (told === null) return { kind: 'refused', trouble: 'offline' }
  const { stay, token } = told.said
  if (told.status === 201 && typeof stay === 'string' && typeof token === 'string') return { kind: 'visit', invitation: { property: place.property, stay, token } }
  if (told.said['reason'] === 'reservation_not_found' || told.status === 400) return { kind: 'refused', trouble: 'not_found' }
  if (told.status === 429) return { kind: 'refused', trouble: 'too_many' }
  if (told.status >= 500) return { kind: 'refused', trouble: 'offline' }
  return { kind: 'refused', trouble: [401, 403, 404].includes(told.status) ? 'ended' : 'strange' }
}

/** Begin a visit at the house itself, which takes one only while it has no line to its cloud. */
export async function beginAlone(property: string, edge: Edge, bookingCode: string, surname: string, fetch: Fetch): Promise<Begun> {
  const told = await ask(fetch, new URL(`api/v1/properties/${property}/kiosk-visits`, edge.root), 'POST', edge.token, { booking_code: bookingCode, surname, kiosk: edge.place })
  const { stay, reason } = told?.said ?? {}
  if (told?.status === 201 && typeof stay === 'string') return { kind: 'visit', invitation: { property, stay, token: edge.token } }
  return { kind: 'refused', trouble: reason === 'reservation_not_found' ? 'not_found' : told?.status === 429 ? 'too_many' : 'offline' }
}

/**
 * The address with which the guest's phone goes on; null: none can be had now. A house that is alone gives what its key is
 * taken by; the page that takes it is the cloud's, which the phone reaches by its own line or has kept.
 */
export async function phoneLink(invitation: CheckInInvitation, root: URL, cloud: URL, fetch: Fetch): Promise<string | null> {
  const told = await ask(fetch, visitOf(invitation, root, '/phone-link'), 'POST', invitation.token, {})
  if (told?.status !== 201) return null
  const { path, stay, token } = told.said
  if (typeof path === 'string') return new URL(path, cloud).href
  if (typeof stay !== 'string' || typeof token !== 'string') return null
  return new URL(`guest/house.html#${houseText({ root, invitation: { property: invitation.property, stay, token } })}`, cloud).href
}

/** Tell that the guest has left: whoever comes next finds nothing of him. A line that is down ends the visit at its time. */
export async function endVisit(invitation: CheckInInvitation, root: URL, fetch: Fetch): Promise<void> {
  await ask(fetch, visitOf(invitation, root, ''), 'DELETE', invitation.token)
}

export const visitOf = ({ property, stay }: CheckInInvitation, root: URL, what: string): URL =>
  new URL(`api/v1/properties/${encodeURIComponent(property)}/stays/${encodeURIComponent(stay)}/kiosk-visit${what}`, root)

/** One call; null: no answer came. A status of 0 is an answer that cannot be read. */
export async function ask(fetch: Fetch, address: URL, method: string, token: string, body?: object, waitMs = ANSWER_WAIT_MS): Promise<{ status: number; said: Record<string, unknown> } | null> {
  const headers: Record<string, string> = { Authorization: `Bearer ${token}` }
  if (body !== undefined) headers['Content-Type'] = 'application/json'
  try {
    const answer = await fetch(address, {
      method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }), credentials: 'omit', cache: 'no-store', keepalive: method === 'DELETE', signal: AbortSignal.timeout(waitMs),
    })
    const said: unknown = answer.status === 204 ? {} : await answer.json()
    return { status: answer.status, said: typeof said === 'object' && said !== null ? (said as Record<string, unknown>) : {} }
  } catch (error) {
    if (error instanceof SyntaxError) return { status: 0, said: {} }
    if (error instanceof TypeError || error instanceof DOMException) return null
    throw error
  }
}
