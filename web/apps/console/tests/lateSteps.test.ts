import { describe, expect, it } from 'vitest'
import { bothOf, LATE_REASONS } from '../src/lateSteps'

const day = new Intl.DateTimeFormat('en-GB', { dateStyle: 'short', timeStyle: 'short', timeZone: 'UTC' })
const document = { code: 'P', issuing_state: 'AUT', expires: '2030-01-01', picture_kept: false }

describe('what a kiosk told late', () => {
  it('is shown beside what was answered here', () => {
    const kiosk = { state: 'done', reason: null, by: 'kiosk:lobby', at_ms: Date.UTC(2026, 10, 22, 16), evidence: document }
    const here = { state: 'needs_staff', reason: 'name_different', actor: 'guest', at_ms: Date.UTC(2026, 10, 22, 9), evidence: { name: 'different' } }
    expect(bothOf({ evidence: { kiosk, here } }, day)).toEqual([
      'At the kiosk: done, document P AUT 2030-01-01, kiosk:lobby, 22/11/2026, 16:00',
      'In the check-in: left to staff (name different), guest, 22/11/2026, 09:00',
    ])
  })

  it('is nothing where only one answered, or what came cannot be read', () => {
    for (const evidence of [{}, { kiosk: {} }, { here: {}, kiosk: null }, { here: 7, kiosk: 'x' }]) expect(bothOf({ evidence }, day)).toEqual([])
    expect(bothOf({ evidence: { kiosk: { at_ms: 1e300 }, here: {} } }, day)).toEqual(['At the kiosk: undefined, unknown', 'In the check-in: undefined, unknown'])
    expect(Object.keys(LATE_REASONS)).toEqual(['offline', 'kiosk_differs'])
  })
})
