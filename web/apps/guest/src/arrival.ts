/**
 * How a key reaches the page: behind the # of a link (which browsers send to nobody), or pasted.
 *
 *   #key=<base64url of the bundle's JSON>          a bundle, whole
 *   #check-in=<property>/<stay>/<one-time token>   ask the hotel's cloud for one, over its check-in route
 *   #payment=done | #payment=left                  back from the payment provider's page; brings nothing of its own
 *
 * Never in a query string: those are sent to servers, logged and passed on as referrers.
 */
import { fromBase64Url } from '@innkeeper/door'

export const ARRIVAL_CHARACTERS_MOST = 128 * 1024

export interface CheckInInvitation {
  property: string
  stay: string
  token: string
}

export type Arrival = { kind: 'bundle'; document: unknown } | { kind: 'check-in'; invitation: CheckInInvitation } | { kind: 'payment'; came: 'done' | 'left' } | { kind: 'nonsense' }

const CHECK_IN = /^check-in=([a-z0-9][a-z0-9-]{0,39})\/([A-Za-z0-9._~-]{1,80})\/([A-Za-z0-9._~-]{16,512})$/u

/** What a fragment brings; null for a fragment that is none of ours. */
export function arrivalOf(fragment: string): Arrival | null {
  const text = fragment.replace(/^#/u, '')
  if (text.length > ARRIVAL_CHARACTERS_MOST) return { kind: 'nonsense' }
  if (text.startsWith('key=')) {
    const bytes = fromBase64Url(text.slice('key='.length))
    return bytes === null ? { kind: 'nonsense' } : documentOf(new TextDecoder().decode(bytes))
  }
  if (text === 'payment=done' || text === 'payment=left') return { kind: 'payment', came: text === 'payment=done' ? 'done' : 'left' }
  if (!text.startsWith('check-in=')) return null
  const [, property, stay, token] = CHECK_IN.exec(text) ?? []
  if (property === undefined || stay === undefined || token === undefined) return { kind: 'nonsense' }
  return { kind: 'check-in', invitation: { property, stay, token } }
}

/** What a guest pasted: a whole link, its end, or the bundle's JSON. */
export function pastedArrival(pasted: string): Arrival {
  const text = pasted.trim()
  if (text.length > ARRIVAL_CHARACTERS_MOST) return { kind: 'nonsense' }
  if (text.startsWith('{')) return documentOf(text)
  const at = text.indexOf('#')
  return arrivalOf(at < 0 ? text : text.slice(at)) ?? { kind: 'nonsense' }
}

function documentOf(json: string): Arrival {
  try {
    return { kind: 'bundle', document: JSON.parse(json) as unknown }
  } catch (error) {
    if (error instanceof SyntaxError) return { kind: 'nonsense' }
    throw error
  }
}
