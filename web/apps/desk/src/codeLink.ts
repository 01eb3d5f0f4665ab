/**
 * The link by which a guest's phone takes its key from this house (edge/api/phone_code_routes.py); apps/guest/src/house/link.ts
 * reads it. All of it stands behind the #, which browsers send to nobody.
 */
import type { Code } from './house'

export function codeLink(cloud: URL, house: URL, { property, stay, token }: Pick<Code, 'property' | 'stay' | 'token'>): string {
  return new URL(`guest/house.html#house=${encodeURIComponent(house.origin)}/${property}/${stay}/${token}`, cloud).href
}

/** Whether phones can come to the house by the address that this page was opened with; `near`: only this very machine can. */
export function reachOf(house: URL): 'fine' | 'near' | 'unsafe' {
  if (['127.0.0.1', 'localhost', '[::1]'].includes(house.hostname)) return 'near'
  return house.protocol === 'https:' ? 'fine' : 'unsafe'
}

/** 29:41 of what is left, rounded up, so that nothing is called over before it is; null: it is over. */
export function leftOf(untilMs: number, nowMs: number): string | null {
  if (untilMs <= nowMs) return null
  const seconds = Math.ceil((untilMs - nowMs) / 1_000)
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`
}
