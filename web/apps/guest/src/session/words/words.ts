/** Everything the check-in says, once a language. A language that lacks a sentence does not compile. */
import type { StepKind } from '../wire'

/** Fields of forms that the cloud may find wrong. */
export type FieldName = 'surname' | 'given_names' | 'birth_date' | 'nationality' | 'birth_state' | 'address' | 'mrz' | 'signed_as' | 'reason' | 'version'

/** Why staff looks at a step; the cloud's reasons, and `other` for those to come. */
export type StaffReason =
  | 'name_similar' | 'name_different' | 'minor_alone' | 'review' | 'specimen' | 'document_not_accepted' | 'document_expired' | 'birth_date_differs' | 'nationality_differs' | 'card_at_desk' | 'key_refused' | 'offline' | 'other'

/** What stands in the zone of a document. */
export type ZoneField = 'document_code' | 'issuing_state' | 'name' | 'document_number' | 'nationality' | 'birth_date' | 'sex' | 'expiry_date' | 'optional' | 'optional_2' | 'composite'

export interface SessionWords {
  title: string
  beginning: string
  days: (from: string, to: string) => string
  progress: (done: number, total: number) => string
  steps: string
  kinds: Record<StepKind, string>
  states: { done: string; needs_staff: string; open: string; now: string }
  /** "You", "Guest 2". */
  guest: (number: number) => string

  identity: (number: number) => string
  identityLead: string
  identityOther: string
  fields: Record<FieldName, string>
  hints: { names: string; address: string; birth_state: string }
  optional: string
  choose: string
  missing: string
  wrong: Record<FieldName | 'other', string>
  whyNotSent: string

  document: (number: number) => string
  documentHint: string
  documentWhere: string
  documentPrivacy: string
  zoneLead: string
  zoneAt: (line: number, first: number, last: number, field: string) => string
  zoneFields: Record<ZoneField, string>

  card: (number: number) => string
  cardHint: string
  cardStatement: string

  terms: string
  termsHint: (version: string) => string
  termsAccept: string
  termsReading: string
  termsVersion: (version: string) => string
  /** `language`: what the text is written in, because it is not in the reader's. */
  termsOnlyIn: (language: string) => string

  payment: string
  paymentHint: (amount: string) => string
  paymentDesk: string
  pay: {
    where: string
    go: string
    goOn: string
    leaving: string
    checking: string
    left: string
    underWay: string
    desk: string
    expired: string
    atBank: string
    failed: string
    away: string
    refused: string
    strayed: string
    strayedHint: string
  }

  waitRoom: string
  waitRoomHint: string
  waitStaff: string
  waitStaffHint: string
  looking: string

  grant: string
  grantHint: string
  getKey: string
  over: string
  overHint: string

  staff: string
  reasons: Record<StaffReason, string>
  correct: string
  notNow: string

  help: string
  helpHint: string
  helpLabel: string
  helpSend: string
  helpAsked: (time: string) => string

  next: string
  sending: string
  later: string
  laterHint: string
  frontDesk: string
  anew: string
  otherRooms: (count: number) => string
}
