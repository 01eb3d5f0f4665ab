/**
 * What the cloud says, as this workspace understands it.
 *
 * Source of truth: the cloud's HTTP API. Kept by hand, in this one file, until `npm run generate:api`
 * has an OpenAPI document to read; then these names become aliases of the generated ones and no user changes.
 * Times are ISO 8601 UTC strings ending in Z; `null` means "never known".
 */

export type Instant = string

export type LinkState = 'online' | 'silent' | 'offline' | 'never'
export type LaneName = 'A' | 'B' | 'C'
export type Quality = 'good' | 'uncertain' | 'bad' | 'stale'

export interface Lane {
  lane: LaneName
  /** Highest sequence number that the cloud holds without a break. */
  hi: number
  /** Records that the cloud holds. */
  records: number
  /** Sequence numbers that were announced and never came. */
  gaps: number
}

export interface Link {
  state: LinkState
  edge: string
  incarnation: string | null
  last_heard_at: Instant | null
  last_ack_at: Instant | null
  /** Records that wait at the property, as the edge last told. */
  backlog: Record<Lowercase<LaneName>, number> | null
  lanes: Lane[]
}

export interface Property {
  id: string
  name: string
  /** IANA zone, for example Europe/Vienna. */
  zone: string
  rooms: number
  link: Link
}

export interface LockEvent {
  event: string
  at: Instant
  reason: string | null
  received_at: Instant | null
}

export interface RoomLock {
  door: string
  state: 'locked' | 'unlocked' | 'not_fully_locked' | 'unknown'
  state_at: Instant | null
  battery_percent: number | null
  last_event: LockEvent | null
}

export interface RoomLight {
  on: boolean | null
  at: Instant | null
  quality: Quality
}

export interface RoomClimate {
  temperature: number | null
  setpoint: number | null
  unit: string
  at: Instant | null
  quality: Quality
}

export interface RoomOccupancy {
  occupied: boolean | null
  at: Instant | null
  quality: Quality
}

export interface RoomContact {
  open: boolean | null
  at: Instant | null
  quality: Quality
}

export interface RoomStay {
  id: string
  state: string
  guest_name: string | null
  until: Instant | null
}

export interface Room {
  id: string
  floor: number
  kind: string
  type: string | null
  mode: string | null
  lock: RoomLock | null
  light: RoomLight | null
  climate: RoomClimate | null
  occupancy: RoomOccupancy | null
  contact: RoomContact | null
  stay: RoomStay | null
}

export interface AccessEvent {
  id: string
  door: string
  room: string | null
  at: Instant
  event: string
  reason: string | null
  stay: string | null
  grant: string | null
  lock_seq: number | null
  /** When the cloud learnt of it: far later than `at` after a cut line. */
  received_at: Instant | null
}

/** Something that somebody should look at, as the building's edge says it. */
export interface Alert {
  id: string
  kind: string
  state: 'raised' | 'cleared' | 'lapsed'
  room: string | null
  device: string | null
  raised_at: Instant
  /** null while it is up */
  ended_at: Instant | null
  /** What the building saw. */
  detail: string
  received_at: Instant | null
}

export interface AccessEventPage {
  events: AccessEvent[]
  next: string | null
}

/** What the live socket sends, one JSON document a message. Types that we do not know are passed over. */
export type LiveMessage =
  | { type: 'snapshot'; as_of: Instant; rooms: Room[]; link: Link; access_events: AccessEvent[]; alerts: Alert[] }
  | { type: 'rooms'; as_of: Instant; rooms: Room[] }
  | { type: 'access'; as_of?: Instant; events: AccessEvent[] }
  | { type: 'alerts'; as_of: Instant; alerts: Alert[] }
  | { type: 'link'; as_of: Instant; link: Link }
  | { type: 'tick'; as_of: Instant }

/** RFC 9457. */
export interface Problem {
  type?: string
  title?: string
  status?: number
  detail?: string
}
