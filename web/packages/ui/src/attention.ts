/**
 * What about a room deserves a look, in words. An empty list is the normal case.
 *
 * A lock whose state is not known is no such thing: many locks tell only events. Nor is a value that is old because
 * the hotel's line is cut: then everything is, and the page says so once, above.
 */
import type { Room } from '@innkeeper/api'
import { ageMs } from '@innkeeper/api'
import type { Source } from './freshness'
import { saidPercent } from './words'

export const BATTERY_LOW_PERCENT = 20
export const DOOR_OPEN_LONG_MS = 10 * 60_000

export const isBatteryLow = (percent: number | null | undefined): boolean => percent != null && percent <= BATTERY_LOW_PERCENT

export const isOpenLong = (room: Room, now_ms: number): boolean =>
  room.contact?.open === true && room.contact.quality === 'good' && (ageMs(room.contact.at, now_ms) ?? 0) >= DOOR_OPEN_LONG_MS

export function attentionTo(room: Room, now_ms: number, source: Source = 'live'): string[] {
  const found: string[] = []
  if (isBatteryLow(room.lock?.battery_percent)) found.push(`Lock battery at ${saidPercent(room.lock?.battery_percent)}`)
  if (source !== 'live') return found
  if (isOpenLong(room, now_ms)) found.push('Door has stood open')
  const silent = [
    room.climate && room.climate.quality !== 'good' && 'Climate',
    room.light && room.light.quality !== 'good' && 'Light',
    room.occupancy && room.occupancy.quality !== 'good' && 'Presence',
    room.contact && room.contact.quality !== 'good' && 'Door contact',
  ].filter((name): name is string => typeof name === 'string')
  if (silent.length > 0) found.push(`${silent.join(', ')} not current`)
  return found
}
