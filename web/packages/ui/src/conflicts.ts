/** Where PMS and house do not agree on a stay: what is so, what the written rule did, what a person does. docs/decisions/0079, 0143, 0146. */
import type { RoomConflict } from '@innkeeper/api'
import { saidRoom } from './words'

export interface SaidConflict {
  what: string
  /** What the house did by its rule. */
  rule: string
  /** What a person should do. */
  todo: string
}

const room = (id: string | null): string => (id === null ? 'no room' : saidRoom(id))

const DAY_MS = 86_400_000

export function saidConflict(conflict: Omit<RoomConflict, 'stay'>): SaidConflict {
  const { kind, guest_name, room: here, room_asked: asked } = conflict
  const guest = guest_name || 'the guest'
  switch (kind) {
    case 'double_sale':
      return {
        what: `${room(asked)} is sold twice: ${guest} has no room`,
        rule: 'The other guest keeps the room: his key opens it, or he was booked into it first.',
        todo: `Give ${guest} another room in the PMS. It is taken over here by itself.`,
      }
    case 'other_room':
      return {
        what: `${guest} is in ${room(here)}, the PMS says ${room(asked)}`,
        rule: `The key goes on opening ${room(here)}: nobody is moved behind his back.`,
        todo: `If he is to move, make him a key link: with it he gets the key of ${room(asked)}. If not, put him into ${room(here)} in the PMS.`,
      }
    case 'ended_in_pms':
      return {
        what: `${guest} is in ${room(here)}, and cancelled in the PMS`,
        rule: 'He keeps the room and the key until he leaves.',
        todo: 'Bring the reservation back in the PMS, or check him out here.',
      }
    case 'other_end': {
      const apart = (Date.parse(conflict.expected_until) - Date.parse(conflict.until_asked)) / DAY_MS
      const nights = Math.max(1, Math.round(Math.abs(apart)))
      return {
        what: `${guest} in ${room(here)} leaves ${nights === 1 ? 'a night' : `${nights} nights`} ${apart > 0 ? 'later' : 'earlier'} than the PMS says`,
        rule: 'It was said at the building, and counts, for his keys too. A PMS that can be told is told by itself, once.',
        todo: 'If this stays, the PMS could not be told, or says otherwise: enter his new departure there. If it is not to be so, say the other one at the building.',
      }
    }
  }
}
