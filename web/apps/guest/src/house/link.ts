/**
 * The link by which a phone takes its key from the house itself, which a kiosk shows while the house is cut off:
 *
 *   #house=<the house's address>/<property>/<stay>/<one-time token>
 *
 * Behind the #, as every link of this page (arrival.ts): sent to nobody.
 */
import type { CheckInInvitation } from '../arrival'

const HOUSE = /^#?house=(?<root>[^/]+)\/(?<property>[a-z0-9][a-z0-9-]{0,39})\/(?<stay>[A-Za-z0-9._~-]{1,80})\/(?<token>[A-Za-z0-9._~-]{16,512})$/u

export interface HouseLink {
  /** Where the house answers. */
  root: URL
  invitation: CheckInInvitation
}

/** What a fragment says; null: it is no such link, or not a safe one. */
export function houseLinkOf(fragment: string): HouseLink | null {
  const { root, property, stay, token } = HOUSE.exec(fragment)?.groups ?? {}
  if (root === undefined || property === undefined || stay === undefined || token === undefined) return null
  const url = houseAt(root)
  return url === null ? null : { root: url, invitation: { property, stay, token } }
}

export const houseText = ({ root, invitation: { property, stay, token } }: HouseLink): string => `house=${encodeURIComponent(root.origin)}/${property}/${stay}/${token}`

/** The address of a house as a link writes it; null: it is none, or not a safe one. */
export function houseAt(written: string): URL | null {
  let address: string
  try {
    address = decodeURIComponent(written)
  } catch (error) {
    if (error instanceof URIError) return null
    throw error
  }
  const url = URL.canParse(address) ? new URL(address) : null
  if (url === null || url.pathname !== '/' || url.search !== '' || url.hash !== '' || url.username !== '') return null
  const isNear = ['127.0.0.1', 'localhost', '[::1]'].includes(url.hostname)
  return url.protocol === 'https:' || (url.protocol === 'http:' && isNear) ? url : null
}
