/** Ages and clocks in words. */

const SECOND_MS = 1_000
const MINUTE_MS = 60 * SECOND_MS
const HOUR_MS = 60 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS

/** Short and exact enough to act on: 7 s, 4 min, 2 h 05, 3 d. */
export function formatAge(age_ms: number): string {
  if (age_ms < MINUTE_MS) return `${Math.floor(age_ms / SECOND_MS)} s`
  if (age_ms < HOUR_MS) return `${Math.floor(age_ms / MINUTE_MS)} min`
  if (age_ms < DAY_MS) return `${Math.floor(age_ms / HOUR_MS)} h ${String(Math.floor((age_ms % HOUR_MS) / MINUTE_MS)).padStart(2, '0')}`
  return `${Math.floor(age_ms / DAY_MS)} d`
}

const formats = new Map<string, Intl.DateTimeFormat>()

function format(zone: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = zone + JSON.stringify(options)
  let made = formats.get(key)
  if (made === undefined) {
    made = new Intl.DateTimeFormat('en-GB', { timeZone: zone, ...options })
    formats.set(key, made)
  }
  return made
}

const CLOCK: Intl.DateTimeFormatOptions = { hour: '2-digit', minute: '2-digit', second: '2-digit' }
const DAY: Intl.DateTimeFormatOptions = { weekday: 'short', day: 'numeric', month: 'short' }

/** 14:03:09 at the property. */
export const formatClock = (at: string | number, zone: string): string => format(zone, CLOCK).format(new Date(at))
/** 14:03 at the property. */
export const formatShortClock = (at: string | number, zone: string): string =>
  format(zone, { hour: '2-digit', minute: '2-digit' }).format(new Date(at))
/** Sun, 22 Nov at the property. */
export const formatDay = (at: string | number, zone: string): string => format(zone, DAY).format(new Date(at))
export const formatFull = (at: string | number, zone: string): string =>
  `${format(zone, { ...DAY, year: 'numeric' }).format(new Date(at))}, ${formatClock(at, zone)} (${zone})`
