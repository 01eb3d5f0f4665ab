/** What the PMS is being told of a stay: what is under way, what a person has to do there, what could not be told. docs/decisions/0155. */
import type { Stay } from '@innkeeper/api'

export type PmsWish = Stay['pms_wishes'][number]

export interface SaidWish {
  what: string
  /** How it stands, sentence by sentence. */
  how: string[]
  /** A person has something to do. */
  isTodo: boolean
}

const THINGS: Record<PmsWish['what'], string> = { check_in: 'his check-in', check_out: 'his check-out', assign_room: 'his room', set_departure: 'his departure' }

const times = (count: number): string => (count === 1 ? 'once' : `${count} times`)

/** `clock` says a moment as the house does. */
export function saidWish(wish: PmsWish, clock: (at: string) => string): SaidWish {
  const thing = THINGS[wish.what]
  const last = wish.reason === null ? [] : [`Last: ${wish.reason}`]
  switch (wish.state) {
    case 'pending': {
      const stuck = wish.unread_since === null ? [] : [`It could not be tried since ${clock(wish.unread_since)}; it is tried on by itself.`]
      const tried = wish.attempts === 0 ? [] : [`Tried ${times(wish.attempts)}.`]
      return { what: `The PMS is being told of ${thing}, since ${clock(wish.since)}`, how: [...stuck, ...tried, ...last], isTodo: false }
    }
    case 'by_hand':
      return {
        what: `To be done by hand in the PMS: ${thing}`,
        how: [`It takes this from nobody else, and waits since ${clock(wish.since)}. Once it is done there it is taken over here by itself.`],
        isTodo: true,
      }
    case 'failed':
      return {
        what: `The PMS could not be told of ${thing}`,
        how: [wish.attempts === 0 ? 'It could not even be tried for a day.' : `Tried ${times(wish.attempts)}.`, ...last, 'Enter it in the PMS itself. Once it is there it is taken over here.'],
        isTodo: true,
      }
  }
}

/** Somebody has to know of it, though the guest has left: a person’s to do, could not be told, or cannot even be tried. */
export const isStuck = (wish: PmsWish): boolean => wish.state !== 'pending' || wish.unread_since !== null
