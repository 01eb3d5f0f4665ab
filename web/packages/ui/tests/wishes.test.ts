import { describe, expect, it } from 'vitest'
import { isStuck, type PmsWish, saidWish } from '../src/wishes'

const clock = (at: string) => at.slice(11, 16)
const wish: PmsWish = { what: 'check_in', state: 'pending', since: '2026-11-22T15:07:00Z', attempts: 0, unread_since: null, reason: null }

describe('what the PMS is told of a stay', () => {
  it('is under way, with what is in its way', () => {
    expect(saidWish(wish, clock)).toEqual({ what: 'The PMS is being told of his check-in, since 15:07', how: [], isTodo: false })
    const stuck = { ...wish, attempts: 2, unread_since: '2026-11-22T15:10:00Z', reason: 'eZee: no answer' }
    expect(saidWish(stuck, clock).how).toEqual(['It could not be tried since 15:10; it is tried on by itself.', 'Tried 2 times.', 'Last: eZee: no answer'])
  })

  it('is a person’s to do where the PMS takes it from nobody else', () => {
    const said = saidWish({ ...wish, what: 'set_departure', state: 'by_hand', reason: 'has to be done in the PMS itself' }, clock)
    expect(said).toMatchObject({ what: 'To be done by hand in the PMS: his departure', isTodo: true })
    expect(said.how.join()).not.toContain('Last')
  })

  it('could not be told, and says how often and why', () => {
    const said = saidWish({ ...wish, what: 'check_out', state: 'failed', attempts: 3, reason: 'refused' }, clock)
    expect(said).toMatchObject({ what: 'The PMS could not be told of his check-out', isTodo: true })
    expect(said.how.slice(0, 2)).toEqual(['Tried 3 times.', 'Last: refused'])
    expect(saidWish({ ...wish, state: 'failed' }, clock).how[0]).toBe('It could not even be tried for a day.')
  })

  it.each(['check_in', 'check_out', 'assign_room', 'set_departure'] as const)('has words for %s', (what) => {
    expect(saidWish({ ...wish, what }, clock).what).toMatch(/^The PMS is being told of his [a-z-]+, since 15:07$/)
  })

  it('concerns somebody, though the guest has left, unless it is just being told', () => {
    const out: PmsWish = { ...wish, what: 'check_out' }
    expect([out, { ...out, attempts: 1 }].map(isStuck)).toEqual([false, false])
    const held = [{ ...out, state: 'by_hand' }, { ...out, state: 'failed' }, { ...out, unread_since: '2026-11-22T15:10:00Z' }] as const
    expect(held.map(isStuck)).toEqual([true, true, true])
  })
})
