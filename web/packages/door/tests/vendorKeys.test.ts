import { describe, expect, it } from 'vitest'
import { bundleOf, InvalidInputError, keysAloneOf, UnsupportedVersionError, vendorKeysOf } from '../src'
import { cases, type Json, vector } from './vectors'

const told = (name: string): Json => structuredClone(vector('door/vendor_keys')[name]) as Json

describe('keys of other lock systems', () => {
  it('are read beside a grant, which is read as ever', () => {
    expect(bundleOf(told('beside_a_grant')).doors).toHaveLength(1)
    expect(keysAloneOf(told('beside_a_grant'))).toBeNull()
    const [pin, card] = vendorKeysOf(told('beside_a_grant'))
    expect([pin!.medium, pin!.state, pin!.truth, pin!.code]).toEqual(['pin', 'made', 'accepted-by-vendor', '730941'])
    expect([card!.medium, card!.state, card!.code]).toEqual(['card', 'wanted', null])
  })

  it('are read alone, where no door is ours', () => {
    const alone = keysAloneOf(told('alone'))
    expect(alone!.stay).toBe('stay-1')
    expect(alone!.keys.map(({ state }) => state)).toEqual(['made', 'wanted', 'made', 'refused', 'wanted'])
    expect(() => bundleOf(told('alone'))).toThrow(InvalidInputError)
    for (const wrong of [{ doors: [{}] }, { stay: '' }, { vendor_keys: [] }]) expect(() => keysAloneOf({ ...told('alone'), ...wrong })).toThrow(InvalidInputError)
  })

  it('say which doors open from afar, and what to name', () => {
    const [afar, near] = vendorKeysOf(told('from_afar'))
    expect(afar!.opens).toEqual({ property: 'aurora', grant: 'ik-0123456789abcdef01234567', truth: 'online-confirmed', doors: [{ door: 'annex-a1', room: 'a1' }] })
    expect(near!.opens).toBeNull()
  })

  it('are none where a bundle speaks of none, or is none', () => {
    expect(vendorKeysOf(vector('door/bundle')['bundle'])).toEqual([])
    expect(keysAloneOf(vector('door/bundle')['bundle'])).toBeNull()
    for (const none of [null, [], 'bundle', {}]) expect(() => vendorKeysOf(none)).toThrow(InvalidInputError)
    expect(() => vendorKeysOf({ v: 2 })).toThrow(UnsupportedVersionError)
  })

  it.each(cases('door/vendor_keys', 'refused').map((each) => [each['name'], each]))('%s is refused', (_, each) => {
    expect(() => vendorKeysOf({ ...told('alone'), vendor_keys: (each as Json)['vendor_keys'] })).toThrow(InvalidInputError)
  })
})
