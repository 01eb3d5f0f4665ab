/** Times of the house's own wall, whatever zone this machine is set to. No clock of its own. */

export interface Wall {
  /** 2026-01-02 */
  date: string
  /** 11:00 */
  time: string
}

const WRITTEN = /^(\d{4})-(\d{2})-(\d{2}) (\d{2}):(\d{2})$/u
const DAY_MS = 24 * 3_600_000
/** Where the house's zone is not known: nobody's wall, and named wherever it is said. */
export const UTC = 'UTC'

const formats = new Map<string, Intl.DateTimeFormat>() // dear to make

export function wallOf(atMs: number, zone: string): Wall {
  const parts = Object.fromEntries(formatOf(zone).formatToParts(atMs).map(({ type, value }) => [type, value]))
  return { date: `${parts['year']?.padStart(4, '0')}-${parts['month']}-${parts['day']}`, time: `${parts['hour']}:${parts['minute']}` }
}

function formatOf(zone: string): Intl.DateTimeFormat {
  const known = formats.get(zone)
  if (known !== undefined) return known
  const made = new Intl.DateTimeFormat('en-US', { timeZone: zone, calendar: 'gregory', numberingSystem: 'latn', hourCycle: 'h23', year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit' })
  formats.set(zone, made)
  return made
}

/** The moment at which the wall shows that, the earlier of two; null: it never does, or it is no time at all. */
export function momentOf({ date, time }: Wall, zone: string): number | null {
  const plain = plainOf({ date, time })
  if (plain === null) return null
  const shows = (atMs: number): number => plainOf(wallOf(atMs, zone)) ?? Number.NaN
  // the offsets that hold a day before and a day after: one of them holds then
  const found = [-DAY_MS, DAY_MS].map((away) => plain - (shows(plain + away) - (plain + away))).filter((atMs) => shows(atMs) === plain)
  return found.length === 0 ? null : Math.min(...found)
}

export function daysOn({ date, time }: Wall, days: number): Wall {
  const plain = plainOf({ date, time: '00:00' })
  return plain === null ? { date, time } : { date: new Date(plain + days * DAY_MS).toISOString().slice(0, 10), time }
}

/** The wall's reading as if it were UTC's; null: no such day or hour. */
function plainOf({ date, time }: Wall): number | null {
  const [, year, month, day, hour, minute] = (WRITTEN.exec(`${date} ${time}`) ?? []).map(Number)
  if (year === undefined || month === undefined || day === undefined || hour === undefined || minute === undefined) return null
  const at = new Date(Date.UTC(year, month - 1, day, hour, minute))
  const isIt = at.getUTCMonth() === month - 1 && at.getUTCDate() === day && at.getUTCHours() === hour && at.getUTCMinutes() === minute
  return isIt ? at.getTime() : null
}
