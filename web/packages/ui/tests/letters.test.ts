import { describe, expect, it } from 'vitest'
import { saidLetter, type StayLetter } from '../src/letters'

const letter: StayLetter = { kind: 'invitation', state: 'sent', since: '2026-11-21T09:02:00.000Z', reason: null }
const clock = () => '21 Nov, 10:02'

describe('letters to the guest of a stay', () => {
  it('says what was sent, and when', () => {
    expect(saidLetter(letter, clock)).toEqual({ said: 'Invited 21 Nov, 10:02', isTodo: false })
    expect(saidLetter({ ...letter, kind: 'room_ready' }, clock).said).toBe('Told that the room is ready 21 Nov, 10:02')
  })

  it('says what a person has to do where no letter comes', () => {
    expect(saidLetter({ ...letter, state: 'not_possible', reason: 'no_address' }, clock)).toEqual({ said: 'No e-mail address: hand over a link', isTodo: true })
    expect(saidLetter({ ...letter, kind: 'room_ready', state: 'given_up', reason: 'mail_away' }, clock))
      .toEqual({ said: 'The mail server did not take the letter: tell the guest that the room is ready', isTodo: true })
    expect(saidLetter({ ...letter, state: 'given_up', reason: 'of_tomorrow' }, clock).said).toBe('of_tomorrow: hand over a link')
  })

  it('asks nobody for what is tried again by itself', () => {
    expect(saidLetter({ ...letter, state: 'due' }, clock)).toEqual({ said: 'The invitation to check in is to be sent', isTodo: false })
    expect(saidLetter({ ...letter, state: 'due', reason: 'pms_away' }, clock))
      .toEqual({ said: 'The invitation to check in is tried again. The PMS could not be asked for the e-mail address.', isTodo: false })
    expect(saidLetter({ ...letter, kind: 'room_ready', state: 'waiting' }, clock).isTodo).toBe(false)
  })
})
