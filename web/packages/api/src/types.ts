/**
 * What the cloud says, as this workspace understands it.
 *
 * Source of truth: the cloud's own description of its API. `generated.ts` is made of packages/api/openapi.json
 * (`npm run generate:api`), which tests/cloud/public/test_web_types.py holds against the service; here are the names
 * that pages use. Times are ISO 8601 UTC strings ending in Z; `null` means "never known".
 */
import type { components } from './generated'

type Said = components['schemas']

export type Instant = string

export type Lane = Said['Lane']
export type LaneName = Lane['lane']
export type Link = Said['Link']
export type LinkState = Link['state']
export type Property = Said['Property']
export type LockEvent = Said['LockEvent']
export type RoomLock = Said['Lock']
export type RoomLight = Said['Light']
export type RoomClimate = Said['Climate']
export type Quality = RoomClimate['quality']
export type RoomOccupancy = Said['Occupancy']
export type RoomContact = Said['Contact']
export type RoomStay = Said['RoomStay']
export type RoomConflict = Said['RoomConflict']
export type Room = Said['Room']
export type AccessEvent = Said['AccessEvent']
export type AccessEventPage = Said['AccessEvents']
export type Alert = Said['Alert']
export type Stay = Said['Stay']
/** Why PMS and house do not agree on a stay: docs/decisions/0079. */
export type Conflict = RoomConflict['kind']
export type HandOver = Said['HandOver']
export type CheckInStep = Said['Step']
export type CheckInSession = Said['Session']
export type ArrivingGuest = Said['ArrivingGuest']
export type RoomPreferences = Said['RoomPreferences']
export type Evidence = Said['Evidence']
export type TermsText = Said['TermsText']
export type TermsVersions = Said['TermsVersions']
export type DepositPage = Said['DepositPage']
export type StayPayment = Said['PaymentState']
export type PaymentMovement = Said['PaymentMovement']
export type WaitingLateWish = Said['WaitingLateWish']
export type WaitingRefund = Said['WaitingRefund']

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
