/** Visits are counted as people say them, and a form of wishes says what was chosen and nothing else. */
import { describe, expect, it } from 'vitest'
import { saidVisit, WISHES, wishesOf } from '../src/guestWords'

describe('a visit', () => {
  it.each([[1, '1st'], [2, '2nd'], [3, '3rd'], [4, '4th'], [11, '11th'], [12, '12th'], [13, '13th'], [21, '21st'], [102, '102nd'], [111, '111th'], [113, '113th']])('%i is the %s', (visit, said) => {
    expect(saidVisit(visit)).toBe(said)
  })
})

describe('wishes', () => {
  it('are null where nothing was chosen, and yes or no where that is the question', () => {
    const form = new Map([['floor', 'high'], ['smoking', 'false'], ['step_free', 'true'], ['bed', '']])
    expect(wishesOf({ get: (name) => form.get(name) ?? null })).toEqual({ floor: 'high', bed: null, smoking: false, view: null, lift: null, step_free: true })
  })

  it('come back as they were told, whatever was chosen', () => {
    for (const [field, , choices] of WISHES) {
      for (const [value] of choices) {
        const told = wishesOf({ get: (name) => (name === field ? value : null) })
        expect(String(told[field])).toBe(value)
        expect(Object.values(told).filter((each) => each !== null)).toHaveLength(1)
      }
    }
  })
})
