/**
 * Where the reader is, kept behind the # of the address: the page is static files under any path, a link to a room
 * can be sent to a colleague, and Back closes what was opened.
 */
import { useSyncExternalStore } from 'react'

export interface Route {
  property: string | null
  room: string | null
}

export function parseRoute(hash: string): Route {
  const [place, property, kind, room] = hash.replace(/^#\/?/, '').split('/').map(decode)
  if (place !== 'p' || !property) return { property: null, room: null }
  return { property, room: kind === 'room' && room ? room : null }
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return ''
  }
}

export function routeTo({ property, room }: Route): string {
  if (property === null) return '#/'
  return `#/p/${encodeURIComponent(property)}${room === null ? '' : `/room/${encodeURIComponent(room)}`}`
}

export const go = (route: Route): void => {
  window.location.hash = routeTo(route)
}

/** As `go`, but Back does not come by here. */
export const replaceRoute = (route: Route): void => {
  window.location.replace(routeTo(route))
}

const subscribe = (reader: () => void): (() => void) => {
  window.addEventListener('hashchange', reader)
  return () => window.removeEventListener('hashchange', reader)
}

export function useRoute(): Route {
  const hash = useSyncExternalStore(subscribe, () => window.location.hash)
  return parseRoute(hash)
}

/** The reader's own account has an address of its own. */
export const ACCOUNT = '#/account'

export const useAccountShown = (): boolean => useSyncExternalStore(subscribe, () => window.location.hash === ACCOUNT)

/** The desk's page of a property: arrivals, links for guests, check-ins that wait. */
export const arrivalsOf = (property: string): string => `#/p/${encodeURIComponent(property)}/arrivals`

export const useArrivalsShown = (): boolean => useSyncExternalStore(subscribe, () => /^#\/p\/[^/]+\/arrivals$/u.test(window.location.hash))

/** The page of keys of a property: lost phones, sealed rooms, emergency and staff keys. */
export const keysOf = (property: string): string => `#/p/${encodeURIComponent(property)}/keys`

export const useKeysShown = (): boolean => useSyncExternalStore(subscribe, () => /^#\/p\/[^/]+\/keys$/u.test(window.location.hash))

/** The house's terms of a property: what guests accept when they check in. */
export const termsOf = (property: string): string => `#/p/${encodeURIComponent(property)}/terms`

export const useTermsShown = (): boolean => useSyncExternalStore(subscribe, () => /^#\/p\/[^/]+\/terms$/u.test(window.location.hash))

/** The kiosks of a property. */
export const kiosksOf = (property: string): string => `#/p/${encodeURIComponent(property)}/kiosks`

export const useKiosksShown = (): boolean => useSyncExternalStore(subscribe, () => /^#\/p\/[^/]+\/kiosks$/u.test(window.location.hash))

/** The payments of one stay. */
export const paymentsOf = (property: string, stay: string): string => `#/p/${encodeURIComponent(property)}/payments/${encodeURIComponent(stay)}`

export const usePaymentsShown = (): string | null => useStayIn('payments')

/** The door log of one stay, to be read with the guest or printed. */
export const stayLogOf = (property: string, stay: string): string => `#/p/${encodeURIComponent(property)}/stay-log/${encodeURIComponent(stay)}`

export const useStayLogShown = (): string | null => useStayIn('stay-log')

const useStayIn = (place: string): string | null =>
  useSyncExternalStore(subscribe, () => {
    const [at, , shown, stay, more] = window.location.hash.replace(/^#\//u, '').split('/')
    return at === 'p' && shown === place && stay !== undefined && stay !== '' && more === undefined ? decode(stay) : null
  })
