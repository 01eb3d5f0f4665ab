import { describe, expect, it } from 'vitest'
import { Guest } from '../src/guest'
import { hourIn, hoursOf, LATE_TROUBLES, lateCheckOut, readLate, standing } from '../src/late/lateCheckOut'
import { lateWords } from '../src/late/words'
import { LANGUAGES } from '../src/words'
import { ports } from './stage'

const from = { property: 'aurora', stay: 'stay-1', token: 't'.repeat(32) }
const root = new URL('https://hotel.example/')
const SAID = {
  why_not: null, zone: 'Europe/Vienna', ends_at: '2026-11-19T10:00:00.000Z', latest: '2026-11-19T12:15:00.000Z', alone_until: null, house_knows: true,
  wish: { id: 'lw-1', until: '2026-11-19T12:00:00.000Z', state: 'refused', reason: 'The house is full.', asked_at: '2026-11-18T10:00:00.000Z', decided_at: '2026-11-18T10:05:00.000Z', alone: false },
}
const late = (over: object = {}) => readLate({ ...SAID, ...over })!

describe('leaving later', () => {
  it.each([
    [{ kind: 'look' }, 'GET', null],
    [{ kind: 'ask', until: '13:00' }, 'POST', '{"until":"13:00"}'],
    [{ kind: 'withdraw' }, 'DELETE', null],
  ] as const)('is asked about with the link alone: %o', async (act, method, body) => {
    const at = ports()
    const guest = await Guest.start(at)
    const asked: unknown[] = []
    at.fetch = async (address, init) => {
      asked.push([address.pathname, init.method, init.body ?? null, init.credentials, new Headers(init.headers).get('authorization')])
      return Response.json(SAID)
    }
    expect((await guest.lateCheckOut(from, act)).kind).toBe('late')
    expect(asked).toEqual([['/api/v1/properties/aurora/stays/stay-1/late-check-out', method, body, 'omit', `Bearer ${from.token}`]])
  })

  it('is offered by the hotel’s clocks, each half hour and the last one, below what was refused', () => {
    expect(hoursOf(late({ wish: null }))).toEqual(['11:30', '12:00', '12:30', '13:00', '13:15'])
    expect(hoursOf(late())).toEqual(['11:30', '12:00', '12:30'])
    expect(hoursOf(late({ latest: null }))).toEqual([])
    expect(hoursOf(late({ why_not: 'over' }))).toEqual([])
    expect(hoursOf(late({ latest: SAID.ends_at }))).toEqual([])
    expect(hoursOf(late({ latest: '2036-01-01T00:00:00.000Z', wish: null })).length).toBeLessThan(30)
    expect(hourIn(Date.parse(SAID.ends_at), 'Asia/Kathmandu')).toBe('15:45')
  })

  it('has lapsed once the stay has ended, though the link is gone by then', () => {
    const asked = { untilMs: 0, state: 'asked', reason: null } as const
    const now = Date.parse(SAID.ends_at)
    expect([now - 1, now].map((at) => standing(late(), asked, at))).toEqual(['asked', 'lapsed'])
    expect(standing(late(), { ...asked, state: 'granted' }, now)).toBe('granted')
  })

  it.each([
    null, [], 'x', {}, { ...SAID, zone: 'Mars/Olympus' }, { ...SAID, ends_at: 'soon' }, { ...SAID, house_knows: 1 }, { ...SAID, why_not: 3 }, { ...SAID, wish: 'x' },
    { ...SAID, wish: { ...SAID.wish, state: 'lost' } }, { ...SAID, wish: { ...SAID.wish, until: null } }, { ...SAID, wish: { ...SAID.wish, reason: 4 } }, { ...SAID, wish: undefined },
  ])('takes no answer for what it is: %#', (body) => {
    expect(readLate(body)).toBeNull()
  })

  it.each([
    [() => Promise.reject(new TypeError('Failed to fetch')), 'offline'],
    [() => Promise.reject(new DOMException('late', 'TimeoutError')), 'unanswered'],
    [async () => new Response('<html>'), 'strange'],
    [async () => Response.json({ zone: 1 }), 'strange'],
    [async () => Response.json({ reason: 'refused_already' }, { status: 409 }), 'refused_already'],
    [async () => Response.json({ reason: 'other' }, { status: 409 }), 'strange'],
    [async () => Response.json({}, { status: 403 }), 'signed_out'],
  ] as const)('says what kept it: %#', async (answer, trouble) => {
    expect(await lateCheckOut(from, root, answer, { kind: 'look' })).toEqual({ kind: 'trouble', trouble })
  })

  it('is said in every language, each trouble too', () => {
    for (const { tag } of LANGUAGES) {
      const said = lateWords(tag)
      for (const trouble of LATE_TROUBLES) expect(said.troubles[trouble].length).toBeGreaterThan(8)
      for (const text of [said.asked('13:00', '11:00'), said.refused('13:00', '11:00'), said.lapsed('13:00', '11:00')]) {
        expect(text).toContain('13:00')
        expect(text).toContain('11:00')
      }
      if (tag !== 'en') expect(said.title).not.toBe(lateWords('en').title)
    }
  })
})
