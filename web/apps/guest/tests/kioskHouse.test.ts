import { describe, expect, it } from 'vitest'
import { type Came, edgeOf, edgeText, giveCard, NOTHING, peripheralsAt, printable, printReceipt, takeDocument } from '../src/kiosk/edge'
import { linesOf } from '../src/kiosk/house'
import { houseLinkOf, houseText } from '../src/house/link'
import { houseWords } from '../src/house/words'
import { beginAlone, phoneLink } from '../src/kiosk/line'
import { type Session, sessionOf } from '../src/session/wire'

const TOKEN = 'k'.repeat(64)
const edge = { root: new URL('https://edge.invalid:8470/'), token: TOKEN, place: 'lobby' }

const answering = (...answers: (Response | Error)[]) => {
  const asked: [string, RequestInit][] = []
  const fetch = (address: URL, init: RequestInit): Promise<Response> => {
    asked.push([`${init.method ?? ''} ${address.href}`, init])
    const answer = answers.shift() ?? new TypeError('no answer')
    return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer)
  }
  return { fetch, asked }
}

describe('the house of a kiosk', () => {
  it('is joined by its link alone, and only by one that is safe', () => {
    expect(edgeOf(`#${edgeText(edge)}`)).toEqual(edge)
    expect(edgeOf(`edge=http%3A%2F%2F127.0.0.1%3A8470/${TOKEN}/lobby`)?.root.origin).toBe('http://127.0.0.1:8470')
    for (const root of ['http://edge.invalid', 'https://edge.invalid/path', 'https://a@edge.invalid', 'ftp://edge.invalid', 'edge.invalid', 'https://edge.invalid/?x']) expect(edgeOf(`edge=${encodeURIComponent(root)}/${TOKEN}/lobby`)).toBeNull()
    for (const text of ['', `edge=%/${TOKEN}/lobby`, 'edge=https%3A%2F%2Fe/short/lobby', `edge=https%3A%2F%2Fe/${TOKEN}/`, `edge=https%3A%2F%2Fe/${TOKEN}/../x`]) expect(edgeOf(text)).toBeNull()
  })

  it('says what stands at this kiosk, and nothing of another', async () => {
    const mine = { place: 'lobby', reader: 'r', printer: null, dispenser: 'd', cards: true }
    const told = { kiosks: [{ place: 'bar', reader: 'x', printer: 'y', cards: false }, mine], alone: true }
    expect(await peripheralsAt(edge, answering(Response.json(told)).fetch)).toEqual({ reader: 'r', printer: null, cards: true })
    for (const answer of [Response.json({ kiosks: [] }), Response.json({ kiosks: 7 }), Response.json({}, { status: 401 }), new TypeError('line')]) expect(await peripheralsAt(edge, answering(answer).fetch)).toEqual(NOTHING)
  })

  it('hands a document over once', async () => {
    const { fetch, asked } = answering(Response.json({ zone: 'P<' }), Response.json({}, { status: 404 }), Response.json({ zone: 7 }), new TypeError('line'))
    expect([await takeDocument(edge, 'r 1', fetch), await takeDocument(edge, 'r', fetch), await takeDocument(edge, 'r', fetch), await takeDocument(edge, 'r', fetch)]).toEqual(['P<', null, null, null])
    expect(asked[0]?.[0]).toBe('POST https://edge.invalid:8470/api/v1/kiosk/r%201/document/take')
  })

  it.each<[Response | Error, Came]>([
    [Response.json({ result: true, room: '101' }), true], [Response.json({ result: false }), false], [Response.json({ result: null }), null], [Response.json({ result: 'yes' }), null],
    [Response.json({ reason: 'steps_open' }, { status: 409 }), false], [Response.json({}, { status: 401 }), false], [Response.json({ may_have_taken_effect: false }, { status: 503 }), false],
    [Response.json({ may_have_taken_effect: true }, { status: 504 }), null], [Response.json({}, { status: 500 }), null], [new TypeError('line'), null], [new Response('<html>'), null],
  ])('says that it did, did not, or that nobody knows: %#', async (answer, came) => {
    const again = answer instanceof Response ? answer.clone() : answer
    const given = await giveCard(new URL('https://cloud.invalid/card'), 't', 'lobby', answering(answer).fetch)
    expect(given).toEqual({ came, room: came === true ? '101' : null })
    expect(await printReceipt(edge, 'p', 'text', 'receipt.1', answering(again).fetch)).toBe(came)
  })

  it('shows the phone where the house is, and no other address than its own', async () => {
    const invitation = { property: 'aurora', stay: 'v-1', token: TOKEN }
    const cloud = new URL('https://cloud.invalid/')
    const { fetch, asked } = answering(Response.json({ stay: 's-1', token: 't'.repeat(43) }, { status: 201 }), Response.json({ stay: 7, token: 't' }, { status: 201 }), Response.json({ reason: 'steps_open' }, { status: 409 }), new TypeError('line'))
    const link = await phoneLink(invitation, edge.root, cloud, fetch)
    expect(link).toBe(`https://cloud.invalid/guest/house.html#house=https%3A%2F%2Fedge.invalid%3A8470/aurora/s-1/${'t'.repeat(43)}`)
    expect(asked[0]?.[0]).toBe('POST https://edge.invalid:8470/api/v1/properties/aurora/stays/v-1/kiosk-visit/phone-link')
    const house = { root: edge.root, invitation: { property: 'aurora', stay: 's-1', token: 't'.repeat(43) } }
    expect(houseLinkOf(new URL(link ?? '').hash)).toEqual(house)
    expect(houseLinkOf(`#${houseText(house)}`)).toEqual(house)
    for (let n = 0; n < 3; n += 1) expect(await phoneLink(invitation, edge.root, cloud, fetch)).toBeNull()
    for (const root of ['http://edge.invalid', 'javascript:alert(1)', 'https://a@edge.invalid', 'https://edge.invalid/x']) expect(houseLinkOf(`#house=${encodeURIComponent(root)}/aurora/s-1/${'t'.repeat(43)}`)).toBeNull()
    for (const text of ['', '#house=', `#house=%/aurora/s-1/${'t'.repeat(43)}`, '#house=https%3A%2F%2Fe/aurora/s-1/short', `#house=https%3A%2F%2Fe/../s-1/${'t'.repeat(43)}`]) expect(houseLinkOf(text)).toBeNull()
    for (const tag of ['en', 'de', 'fr', 'es', 'ar']) expect(Object.values(houseWords(tag)).every((text) => text.length > 3)).toBe(true)
  })

  it('says in which forms the key is to be had, and the cloud does not', () => {
    const told = { id: 'v-1', house: 'A', zone: 'UTC', state: 'open', arrives_at: '2026-01-01T00:00:00Z', leaves_at: '2026-01-02T00:00:00Z', steps: [], next: null }
    expect(sessionOf({ ...told, keys: ['card', 7, 'phone'] })?.keys).toEqual(['card', 'phone'])
    expect(sessionOf(told)?.keys).toBeNull()
  })

  it('takes a guest by itself, or says why not', async () => {
    const begun = await beginAlone('aurora', edge, 'N-1', 'Berger', answering(Response.json({ stay: 'v-1', token: null }, { status: 201 })).fetch)
    expect(begun).toEqual({ kind: 'visit', invitation: { property: 'aurora', stay: 'v-1', token: TOKEN } })
    for (const [answer, trouble] of [[Response.json({ reason: 'reservation_not_found' }, { status: 404 }), 'not_found'], [Response.json({}, { status: 404 }), 'offline'], [Response.json({ reason: 'line_is_up' }, { status: 409 }), 'offline'], [Response.json({}, { status: 429 }), 'too_many'], [new TypeError('line'), 'offline']] as const) {
      expect(await beginAlone('aurora', edge, 'N-1', 'Berger', answering(answer).fetch)).toEqual({ kind: 'refused', trouble })
    }
  })
})

describe('a receipt', () => {
  const session: Session = { id: 'ci-1', house: 'Hôtel Aurora', zone: 'Europe/Vienna', arrivesMs: Date.UTC(2026, 10, 22, 14), leavesMs: Date.UTC(2026, 10, 24, 10), isOver: true, terms: null, deposit: null, payment: null, steps: [], next: null, waitsFor: null, helpAskedMs: null, keys: null }

  it.each([['en', 'en-GB'], ['de', 'de-AT'], ['fr', 'fr-FR'], ['es', 'es-ES']])('can be printed in %s', (tag, locale) => {
    const text = printable(linesOf(session, '101', tag, locale))
    expect(text).toContain('Hôtel Aurora')
    expect(text).toContain('101')
  })

  it('is not printed in letters that the printer has not', () => {
    expect(printable(linesOf(session, '101', 'ar', 'ar-EG'))).toBeNull()
    expect(printable(['\u001b@'])).toBeNull()
    expect(printable(['a\u00a0b\u202fc'])).toBe('a b c')
  })
})
