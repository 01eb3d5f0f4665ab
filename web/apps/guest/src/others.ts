/** What a stay has behind locks of other makers: a PIN, a card, a key in the vendor's app. Pure. */
import { InvalidInputError, keysAloneOf, UnsupportedVersionError, type VendorKey, vendorKeysOf } from '@innkeeper/door'
import type { CheckInInvitation } from './arrival'
import { ENDED_SHOWN_MS } from './holdings'
import type { KeptBundle } from './keyring'

/** The keys that one document tells of. `id` is what it is kept under. */
export interface OtherKeys {
  id: string
  stay: string
  keys: readonly VendorKey[]
  /** The invitation that it came by: the way to ask how they stand now. */
  from: CheckInInvitation | null
}

/** What a document without a grant is kept under: one a stay. */
export const idOf = (stay: string): string => `keys/${stay}`

/** The keys of a document that was kept or has just come; null where it tells of none, or cannot be read. */
export function othersOf({ id, document, from }: Pick<KeptBundle, 'id' | 'document' | 'from'>): OtherKeys | null {
  try {
    const keys = vendorKeysOf(document)
    const { stay } = document as Record<string, unknown>
    return keys.length === 0 || typeof stay !== 'string' ? null : { id, stay, keys, from: from ?? null }
  } catch (error) {
    if (error instanceof InvalidInputError || error instanceof UnsupportedVersionError) return null
    throw error
  }
}

/** Whether a document has keys of other makers and no grant; false also for what cannot be read. */
export function isAlone(document: unknown): boolean {
  try {
    return keysAloneOf(document) !== null
  } catch (error) {
    if (error instanceof InvalidInputError || error instanceof UnsupportedVersionError) return false
    throw error
  }
}

/** The others after `newest` has come: it is the word on its stay. */
export function withOthers(held: readonly OtherKeys[], stay: string, newest: OtherKeys | null): OtherKeys[] {
  const kept = held.filter((each) => each.stay !== stay)
  return newest === null ? kept : [...kept, newest]
}

/** The ids of documents without a grant whose keys all ended long ago. */
export function longOver(kept: readonly KeptBundle[], nowMs: number): string[] {
  return kept.filter((each) => isAlone(each.document) && (othersOf(each)?.keys ?? []).every(({ notAfterMs }) => nowMs > notAfterMs + ENDED_SHOWN_MS)).map(({ id }) => id)
}

/** Whether a vendor has still to say yes: asking the hotel again tells. A card waits for the desk, not for us. */
export const isUnderWay = ({ medium, state }: VendorKey): boolean => state === 'wanted' && medium !== 'card'

/** How it stands, in one word for the page. */
export type OtherStanding = 'pin' | 'card' | 'mobile' | 'at_desk' | 'under_way' | 'refused' | 'over'

export function standingOfKey(key: VendorKey, nowMs: number): OtherStanding {
  if (key.state === 'refused') return 'refused'
  if (key.state === 'ending' || key.state === 'ended' || nowMs > key.notAfterMs) return 'over'
  if (key.state === 'made') return key.medium
  return key.medium === 'card' ? 'at_desk' : 'under_way'
}
