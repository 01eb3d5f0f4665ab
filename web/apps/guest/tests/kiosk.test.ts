import { describe, expect, it } from 'vitest'
import { ASKED_MS, DONE_MS, idleAt, IDLE_MS } from '../src/kiosk/idle'
import { beginVisit, endVisit, phoneLink, placeOf } from '../src/kiosk/line'

const TOKEN = `ikk_${'a'.repeat(43)}`
const ROOT = new URL('https://cloud.invalid/')
const place = { property: 'aurora', token: TOKEN }
const invitation = { property: 'aurora', stay: 's-1', token: 'ikg_x' }

const answering = (...answers: (Response | Error)[]) => {
  const asked: [string, RequestInit][] = []
  const fetch = (address: URL, init: RequestInit): Promise<Response> => {
    asked.push([`${init.method ?? ''} ${address.pathname}`, init])
    const answer = answers.shift() ?? new TypeError('no answer')
    return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer)
  }
  return { fetch, asked }
}

describe('idleness', () => {
  it('asks in the last half minute, and then forgets', () => {
    expect(idleAt(0, IDLE_MS - ASKED_MS - 1)).toEqual({ kind: 'there' })
    expect(idleAt(0, IDLE_MS - ASKED_MS)).toEqual({ kind: 'asked', leftMs: ASKED_MS })
    expect(idleAt(0, IDLE_MS - 1)).toEqual({ kind: 'asked', leftMs: 1 })
    expect(idleAt(0, IDLE_MS)).toEqual({ kind: 'gone' })
    expect(idleAt(1_000, IDLE_MS)).toEqual({ kind: 'asked', leftMs: 1_000 })
  })

  it('does not ask when all is done', () => {
    expect(idleAt(0, DONE_MS - 1, DONE_MS)).toEqual({ kind: 'there' })
    expect(idleAt(0, DONE_MS, DONE_MS)).toEqual({ kind: 'gone' })
  })
})

describe('a kiosk', () => {
  it('is set up by its link alone', () => {
    expect(placeOf(`#kiosk=aurora/${TOKEN}`)).toEqual(place)
    for (const text of ['', '#kiosk=aurora', `#kiosk=../${TOKEN}`, `#kiosk=aurora/${TOKEN}x`, `#check-in=aurora/s/${TOKEN}`]) expect(placeOf(text)).toBeNull()
  })

  it('begins a visit with what was typed', async () => {
    const { fetch, asked } = answering(Response.json({ stay: 's-1', token: 'ikg_x', expires_at: '' }, { status: 201 }))
    expect(await beginVisit(place, 'N-1', 'Berger', ROOT, fetch)).toEqual({ kind: 'visit', invitation })
    expect(asked[0]?.[0]).toBe('POST /api/v1/properties/aurora/kiosk-visits')
    expect(asked[0]?.[1].body).toBe(JSON.stringify({ booking_code: 'N-1', surname: 'Berger' }))
  })

  it.each([
    [Response.json({ reason: 'reservation_not_found' }, { status: 404 }), 'not_found'], [Response.json({}, { status: 429 }), 'too_many'], [Response.json({}, { status: 403 }), 'ended'],
    [Response.json({}, { status: 503 }), 'offline'], [new TypeError('line'), 'offline'], [new Response('<html>', { status: 200 }), 'strange'], [Response.json({ stay: 7 }, { status: 201 }), 'strange'],
  ])('says what went wrong: %#', async (answer, trouble) => {
    expect(await beginVisit(place, 'N-1', 'Berger', ROOT, answering(answer).fetch)).toEqual({ kind: 'refused', trouble })
  })

  it('hands the phone its link, and ends the visit without a word', async () => {
    const { fetch } = answering(Response.json({ path: '/guest/#check-in=aurora/s-1/t' }, { status: 201 }), new TypeError('line'), new Response(null, { status: 204 }), new TypeError('line'))
    expect(await phoneLink(invitation, ROOT, ROOT, fetch)).toBe('https://cloud.invalid/guest/#check-in=aurora/s-1/t')
    expect(await phoneLink(invitation, ROOT, ROOT, fetch)).toBeNull()
    await endVisit(invitation, ROOT, fetch)
    await endVisit(invitation, ROOT, fetch)
  })
})
