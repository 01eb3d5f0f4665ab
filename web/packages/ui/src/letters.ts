/** The letters to the guest of a stay: what was sent, what is on its way, and where a person hands a link over. docs/decisions/0169. */
import type { Stay } from '@innkeeper/api'

export type StayLetter = Stay['letters'][number]

export interface SaidLetter {
  said: string
  /** A person has something to do: no letter comes. */
  isTodo: boolean
}

const NAMES: Record<StayLetter['kind'], string> = { invitation: 'The invitation to check in', room_ready: 'The letter that the room is ready' }
const SENT: Record<StayLetter['kind'], string> = { invitation: 'Invited', room_ready: 'Told that the room is ready' }
const WHY: Record<string, string> = {
  no_address: 'No e-mail address',
  refused: 'The mail server refuses the guest’s e-mail address',
  no_link: 'The stay has too many open links: end them',
  mail_away: 'The mail server did not take the letter',
  pms_away: 'The PMS could not be asked for the e-mail address',
  unsure: 'Nobody can tell whether the letter arrived',
}

/** `clock` says a moment as the house does. */
export function saidLetter({ kind, state, since, reason }: StayLetter, clock: (at: string) => string): SaidLetter {
  switch (state) {
    case 'sent':
      return { said: `${SENT[kind]} ${clock(since)}`, isTodo: false }
    case 'waiting':
      return { said: 'Waits for the room, and will be told when it is ready', isTodo: false }
    case 'due':
      return { said: reason === null ? `${NAMES[kind]} is to be sent` : `${NAMES[kind]} is tried again. ${WHY[reason] ?? reason}.`, isTodo: false }
    case 'not_possible':
    case 'given_up': {
      const why = WHY[reason ?? ''] ?? reason ?? `${NAMES[kind]} was not sent`
      return { said: kind === 'invitation' ? `${why}: hand over a link` : `${why}: tell the guest that the room is ready`, isTodo: true }
    }
  }
}
