/** What the wire says, in words that a front desk would use. What we have no words for is shown as it came. */
import type { AccessEvent, LinkState, Quality, RoomLock } from '@innkeeper/api'

/** After `RefusalReason.spoken` in protocols/errors.py. */
const REASONS: Record<string, string> = {
  unknown_issuer: 'This key was not made by this hotel.',
  bad_signature: 'This key could not be verified.',
  wrong_door: 'This key is for another door.',
  superseded: "A newer guest's key has replaced this one.",
  revoked: 'This key was withdrawn by the front desk.',
  not_yet_valid: 'This key is not valid yet.',
  expired: 'This key has expired.',
  privacy_on: 'The room is set to privacy from inside.',
  time_uncertain: 'The door has lost its clock; ask the front desk.',
  malformed: 'The door could not read this key.',
  unsupported_version: "This phone's key format is not understood by the door.",
  busy: 'The door is busy; try again in a moment.',
  not_allowed: 'This key claims more than its issuer may grant.',
  out_of_hours: 'This key is outside its working hours.',
  used_up: 'This key has been used as often as it may be.',
  needs_user_verification: 'Unlock the phone with your face, finger or code first.',
  locked_out: 'The room is sealed; ask the front desk.',
}

const EVENTS: Record<string, string> = {
  opened: 'Opened',
  refused: 'Refused',
  promoted: 'New stay took over',
  bumped: 'Earlier keys ended',
  time_set: 'Clock set',
  revocations_set: 'Withdrawals taken over',
  lost: 'Records lost in the lock',
  restarted: 'Lock restarted',
  throttled: 'Too many tries',
  passage: 'Held open',
  passage_ended: 'Held open no longer',
  lockout: 'Sealed, or no longer',
  key_withdrawn: 'A key is withdrawn',
  issuer_withdrawn: 'A signing key is withdrawn',
  inhibited: 'Every key is ended',
  log_broken: 'Lock log does not add up',
  locked: 'Locked',
  unlocked: 'Unlocked',
  bolt: 'Bolt moved',
  'remote-asked': 'Asked to open from afar',
  'remote-opened': 'Opened from afar',
  'remote-accepted': 'Told to open from afar, not confirmed',
  'remote-unknown': 'May have opened from afar',
  'remote-failed': 'Not opened from afar',
  'remote-refused': 'Refused from afar',
}

/** After `AlertKind` in edge/rooms/alerts.py. */
const ALERTS: Record<string, string> = {
  fire: 'Fire mode is on',
  leak: 'Water leak',
  door_propped: 'Door propped open',
  contact_stuck: 'Door contact stuck',
  comfort_breach: 'Comfort not kept',
  battery_low: 'Battery low',
  lock_battery_plan: 'Plan new cells for the lock',
  lock_battery_low: 'Change the lock’s cells',
  lock_battery_empty: 'Lock out of power: no new guests',
  device_fault: 'Device wants a hand',
  stale: 'Device silent',
  frozen: 'Sensor stuck on one value',
  entered_while_dnd: 'Entered against do not disturb',
  key_far_apart: 'One key at two far doors',
}

/** After `Mode` in edge/rooms/modes.py. */
const MODES: Record<string, string> = {
  vacant_set_back: 'Set back',
  expected: 'Warming up',
  checked_in: 'Checked in',
  occupied_comfort: 'Comfort',
  away_set_back: 'Away',
}

const STAYS: Record<string, string> = {
  planned: 'Planned',
  ready: 'Arriving',
  in_house: 'In house',
  checked_in: 'In house',
  left: 'Left',
  checked_out: 'Left',
  void: 'Void',
}

const LINKS: Record<LinkState, string> = { online: 'Online', silent: 'Silent', offline: 'Offline', never: 'Never heard' }

const QUALITIES: Record<Quality, string> = { good: 'Good', uncertain: 'Uncertain', bad: 'Bad', stale: 'Old' }

const LOCKS: Record<RoomLock['state'], string> = {
  locked: 'Locked',
  unlocked: 'Unlocked',
  not_fully_locked: 'Not fully locked',
  unknown: 'State not told',
}

export function humanise(word: string): string {
  const spaced = word.replaceAll(/[_-]+/g, ' ').trim()
  return spaced.charAt(0).toUpperCase() + spaced.slice(1)
}

export const saidReason = (reason: string): string => REASONS[reason] ?? `${humanise(reason)}.`
export const saidAlert = (kind: string): string => ALERTS[kind] ?? humanise(kind)
export const saidEvent = (event: string): string => EVENTS[event] ?? humanise(event)
export const saidMode = (mode: string): string => MODES[mode] ?? humanise(mode)
export const saidStay = (state: string): string => STAYS[state] ?? humanise(state)
export const saidLink = (state: LinkState): string => LINKS[state] ?? humanise(state)
export const saidQuality = (quality: Quality): string => QUALITIES[quality] ?? humanise(quality)
export const saidLock = (state: RoomLock['state']): string => LOCKS[state] ?? humanise(state)

export const saidPercent = (percent: number | null | undefined): string => (percent == null ? 'not known' : `${Math.round(percent)} %`)

export const isInHouse = (state: string | undefined): boolean => state === 'in_house' || state === 'checked_in'
export const isRefusal = (event: Pick<AccessEvent, 'event'>): boolean => event.event === 'refused'

export const saidFloor = (floor: number | null): string => (floor === null ? 'Floor not told' : floor === 0 ? 'Ground floor' : floor < 0 ? `Basement ${-floor}` : `Floor ${floor}`)

/** A room as people say it: a number gets "Room" before it, a name stands alone. */
export const saidRoom = (id: string): string => (/^\d/.test(id) ? `Room ${id}` : humanise(id))
