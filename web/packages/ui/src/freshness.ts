/** Which values may be taken for the present. */
import type { Quality } from '@innkeeper/api'

/**
 * Values that a device repeats even when nothing changes are old when it has not. Values that come only on change
 * (a contact, a light, a presence, a lock) do not go old by age: the edge marks them itself when their device is gone.
 */
export const CLIMATE_STALE_AFTER_MS = 15 * 60_000

/** Where what is shown comes from at this moment. */
export type Source = 'live' | 'link' | 'stream'

export const isDoubtful = (quality: Quality | undefined): boolean => quality !== undefined && quality !== 'good'
