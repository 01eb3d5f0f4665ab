/**
 * What deserves a look, in words: of one room, and of a whole hotel. An empty list is the normal case.
 *
 * A lock whose state is not known is no such thing: many locks tell only events. A value that is old because a line is
 * cut puts no mark on its room, because then everything is old; the hotel's list says it once, and counts the rooms.
 */
import type { Alert, LaneName, Link, Room, RoomConflict } from '@innkeeper/api'
import { ageMs, aheadMs } from '@innkeeper/api'
import { saidConflict } from './conflicts'
import type { Source } from './freshness'
import type { IconName } from './icons'
import { formatAge } from './time'
import { saidAlert, saidPercent } from './words'

export const BATTERY_LOW_PERCENT = 20
export const DOOR_OPEN_LONG_MS = 10 * 60_000

export const isBatteryLow = (percent: number | null | undefined): boolean => percent != null && percent <= BATTERY_LOW_PERCENT

export const isOpenLong = (room: Room, now_ms: number): boolean =>
  room.contact?.open === true && room.contact.quality === 'good' && (ageMs(room.contact.at, now_ms) ?? 0) >= DOOR_OPEN_LONG_MS

/** One line of a hotel's list. `at`: since when, where that is known. `rooms`: whose it is; none: the house's own. */
export interface Look {
  id: string
  kind: 'link' | 'gaps' | 'alert' | 'stay' | 'old' | 'room'
  icon: IconName
  what: string
  detail: string
  at: string | null
  received_at: string | null
  rooms: readonly string[]
}

export interface Hotel {
  link: Link | null
  alerts: readonly Alert[]
  rooms: ReadonlyMap<string, Room>
  order: readonly string[]
}

const LANES: Record<LaneName, string> = { A: 'doors and stays', B: 'devices', C: 'readings' }

/** What the building said itself need not be found out again here. */
const SAID_BY: Record<string, (found: string) => boolean> = {
  door_propped: (found) => found === DOOR_LONG_OPEN,
  battery_low: (found) => found.startsWith(BATTERY_AT),
  lock_battery_low: (found) => found.startsWith(BATTERY_AT),
  lock_battery_empty: (found) => found.startsWith(BATTERY_AT),
  stale: (found) => found.endsWith(NOT_CURRENT),
}

/** Everything that deserves a look at one hotel, the gravest first. */
export function looksAt({ link, alerts, rooms, order }: Hotel, now_ms: number, source: Source): Look[] {
  const found: Look[] = []
  const add = (look: Partial<Look> & Pick<Look, 'id' | 'kind' | 'icon' | 'what'>): number =>
    found.push({ detail: '', at: null, received_at: null, rooms: [], ...look })
  if (link !== null && link.state !== 'online') {
    const heard = ageMs(link.last_heard_at, now_ms)
    const what = link.state === 'never' ? 'The hotel has never been heard' : link.state === 'offline' ? 'The hotel is off line' : 'The hotel is silent'
    add({ id: 'link', kind: 'link', icon: 'linkOff', what, detail: heard === null ? '' : `nothing heard for ${formatAge(heard)}` })
  }
  const old = source === 'live' ? [] : order.filter((id) => measures(rooms.get(id)))
  if (old.length > 0) {
    const why = source === 'link' ? 'only the last known values are shown while the hotel is not heard' : 'this page has lost its own line'
    add({ id: 'old', kind: 'old', icon: 'clock', what: old.length === 1 ? '1 room is not current' : `${old.length} rooms are not current`, detail: why, rooms: old })
  }
  for (const lane of link?.lanes ?? []) {
    if (lane.gaps === 0) continue
    const what = lane.gaps === 1 ? '1 gap' : `${lane.gaps.toLocaleString('en')} gaps`
    const records = lane.gaps === 1 ? 'a record that was announced and never came' : 'records that were announced and never came'
    add({ id: `gaps-${lane.lane}`, kind: 'gaps', icon: 'warning', what: `${what} in ${LANES[lane.lane] ?? `lane ${lane.lane}`}`, detail: records })
  }
  for (const alert of [...alerts].sort((a, b) => gravity(a) - gravity(b))) {
    const ahead_ms = aheadMs(alert.raised_at, alert.received_at)
    const clock = ahead_ms > 0 ? ` (the clock there is ${formatAge(ahead_ms)} ahead)` : ''
    const detail = [alert.device, alert.detail].filter(Boolean).join(': ') + clock
    const here = alert.room === null ? [] : [alert.room]
    add({ id: `alert-${alert.id}`, kind: 'alert', icon: 'warning', what: saidAlert(alert.kind), detail, at: alert.raised_at, received_at: alert.received_at, rooms: here })
  }
  for (const conflict of conflictsOf(rooms, order)) {
    const { what, rule, todo } = saidConflict(conflict)
    const here = order.filter((id) => id === conflict.room || id === conflict.room_asked)
    add({ id: `stay-${conflict.stay}`, kind: 'stay', icon: 'person', what, detail: `${rule} ${todo}`, rooms: here })
  }
  for (const id of order) {
    const room = rooms.get(id)
    if (room === undefined) continue
    const own = attentionTo(room, now_ms, source, alerts)
    if (own.length > 0) add({ id: `room-${id}`, kind: 'room', icon: 'warning', what: own.join('; '), rooms: [id] })
  }
  return found
}

/** Each stay on which PMS and house do not agree, once, though two rooms may tell of it. */
function conflictsOf(rooms: ReadonlyMap<string, Room>, order: readonly string[]): RoomConflict[] {
  const found = new Map<string, RoomConflict>()
  for (const id of order) for (const each of rooms.get(id)?.conflicts ?? []) found.set(each.stay, each)
  return [...found.values()]
}

/** How many things that is: each room once, and what is the house's own. */
export const countLooks = (looks: readonly Look[]): number =>
  new Set(looks.flatMap((look) => look.rooms)).size + looks.filter((look) => look.rooms.length === 0).length

/** Why each room needs a look of its own, in words. What is old because a line is cut is not the room's own. */
export function needsOf(looks: readonly Look[]): ReadonlyMap<string, string> {
  const found = new Map<string, string>()
  for (const { kind, what, rooms } of looks) {
    if (kind !== 'old') for (const room of rooms) found.set(room, [found.get(room), what].filter(Boolean).join('; '))
  }
  return found
}

const measures = (room: Room | undefined): boolean =>
  room !== undefined && [room.climate, room.light, room.occupancy, room.contact, room.lock].some((fact) => fact !== null)

const GRAVE = ['fire', 'leak']
const gravity = ({ kind }: Alert): number => (GRAVE.includes(kind) ? GRAVE.indexOf(kind) : GRAVE.length)

const BATTERY_AT = 'Lock battery at '
const DOOR_LONG_OPEN = 'Door has stood open'
const NOT_CURRENT = ' not current'

export function attentionTo(room: Room, now_ms: number, source: Source = 'live', alerts: readonly Alert[] = []): string[] {
  const found: string[] = []
  const said = alerts.filter((alert) => alert.room === room.id).map((alert) => alert.kind)
  if (isBatteryLow(room.lock?.battery_percent)) found.push(`${BATTERY_AT}${saidPercent(room.lock?.battery_percent)}`)
  if (source === 'live' && isOpenLong(room, now_ms)) found.push(DOOR_LONG_OPEN)
  if (source === 'live') found.push(...notCurrent(room))
  return found.filter((each) => !said.some((kind) => SAID_BY[kind]?.(each)))
}

function notCurrent(room: Room): string[] {
  const silent = [
    room.climate && room.climate.quality !== 'good' && 'Climate',
    room.light && room.light.quality !== 'good' && 'Light',
    room.occupancy && room.occupancy.quality !== 'good' && 'Presence',
    room.contact && room.contact.quality !== 'good' && 'Door contact',
  ].filter((name): name is string => typeof name === 'string')
  return silent.length > 0 ? [`${silent.join(', ')}${NOT_CURRENT}`] : []
}
