/** Everything the page says, once a language. A language that lacks a sentence does not compile. */
import type { Ending, Phase, Trouble } from '@innkeeper/ble'
import type { RefusalReason, VendorKey } from '@innkeeper/door'
import type { OtherStanding } from '../others'
import type { RemoteSaid } from '../remoteOpening'

/** Why a check-in over the network did not give a key; after `Refusal` in cloud/checkin/desk.py, and what the line does. */
export type CheckInTrouble =
  | 'too_early' | 'not_ready' | 'ended' | 'not_in_house' | 'edge_refused' | 'edge_away' | 'unanswered' | 'too_late' | 'key_reused' | 'steps_open' | 'link_used'
  | 'signed_out' | 'offline' | 'strange'

/** Why a link or document was not taken. */
export type ArrivalTrouble = 'nonsense' | 'later_version' | 'other_phone' | 'damaged' | 'too_many'

export interface Words {
  /** BCP 47, and the language's name in itself. */
  tag: string
  name: string

  title: string
  language: string
  colours: Record<'auto' | 'light' | 'dark', string>
  /** "Room 101" as this language says it; a label that is no room number stays as the hotel wrote it. */
  room: (number: string) => string

  /** On a button beside the door's name; `open` and `again` hold the same word. */
  openWord: string
  open: (door: string) => string
  again: (door: string) => string
  phases: Record<Phase, string>
  endings: Record<Exclude<Ending, 'opened'>, string>
  opened: string
  openedHint: string
  reasons: Record<RefusalReason, string>
  troubles: Record<Trouble, string>
  toDesk: string
  batteryLow: (percent: number) => string

  until: (time: string) => string
  startsAt: (time: string) => string
  endedAt: (time: string) => string
  startsHint: string
  endedHint: string
  needsVerification: string
  lastSaid: (time: string) => string

  /** How to stand at a door. Browsers call an adapter available that is only switched off: so it is not said to be on. */
  ready: string
  bluetoothOff: string
  bluetoothOffHint: string
  unsupported: string
  unsupportedHint: string
  noRemote: string
  asking: string

  /** Doors with locks of other makers: what the guest has, what he does, how sure it is. */
  others: {
    title: string
    pin: string
    has: Record<OtherStanding, string>
    does: Record<OtherStanding, string>
    truths: Record<NonNullable<VendorKey['truth']>, string>
    lookAgain: string
    looking: string
  }

  /** Opening a door of another maker from afar; `openNamed` and `yes` are buttons, `open` is the first one's short word. */
  remote: {
    open: string
    openNamed: (door: string) => string
    sure: (door: string) => string
    sureHint: string
    yes: string
    not: string
    asking: string
    said: Record<RemoteSaid, string>
    /** What opens the door all the same, by what the guest has for it. */
    instead: Record<VendorKey['medium'], string>
  }

  doors: string
  about: string
  offlineReady: string
  offlinePreparing: string
  offlineNow: string
  onlyHere: string
  newKey: string
  newKeyHint: string
  forget: string
  forgetSure: string
  yesForget: string
  keep: string

  welcome: string
  welcomeHint: string
  stepLink: string
  stepDesk: string
  code: string
  copy: string
  copied: string
  share: string
  paste: string
  pasteHint: string
  take: string
  taking: string
  taken: string
  arrival: Record<ArrivalTrouble, string>
  checkIn: Record<CheckInTrouble, string>
  checkInFrom: (time: string) => string
  tryAgain: string
  noStore: string
}
