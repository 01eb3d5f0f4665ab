/** Which stays are meant, and in which order they stand. */
import type { Stay } from './house'

export interface Groups {
  inHouse: readonly Stay[]
  coming: readonly Stay[]
  gone: readonly Stay[]
}

const rooms = new Intl.Collator('en', { numeric: true })

/** The stays in which every word of the search occurs, accents and case aside: in the guest's name, room, booking or the stay's own name. */
export function found(stays: readonly Stay[], search: string): Groups {
  const words = plain(search).split(/\s+/u).filter((word) => word !== '')
  const meant = stays.filter(({ id, guest, room, booking }) => {
    const said = plain(`${guest ?? ''} ${room ?? ''} ${booking} ${id}`)
    return words.every((word) => said.includes(word))
  }).sort((one, other) => rooms.compare(one.room ?? '\uffff', other.room ?? '\uffff') || one.fromMs - other.fromMs || rooms.compare(one.id, other.id))
  return {
    inHouse: meant.filter(({ state }) => state === 'in_house'),
    coming: meant.filter(({ state }) => state === 'planned' || state === 'ready'),
    gone: meant.filter(({ state }) => state === 'left' || state === 'void'),
  }
}

const plain = (said: string): string => said.normalize('NFD').replace(/\p{M}/gu, '').toLowerCase()
