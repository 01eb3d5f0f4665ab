import { base64Url, bundleOf, fromHex, utf8 } from '@innkeeper/door'
import { describe, expect, it, vi } from 'vitest'
import { vector } from '../../../packages/door/tests/vectors'
import { arrivalOf, pastedArrival } from '../src/arrival'
import { checkIn } from '../src/checkIn'
import { Guest } from '../src/guest'
import { arrived, heldOf, holdingOf, longEnded, standingOf, withNewest } from '../src/holdings'
import { BEGINS_MS, ENDS_MS, MINUTE_MS, ports } from './stage'
import { LANGUAGES, localeOf, saidDoor, saidTime, spoken, type Words } from '../src/words'

const document = (): Record<string, any> => structuredClone(vector('door/bundle')['bundle'])
const PHONE = fromHex(vector('door/keys')['keys'].phone.public)!
const STRANGER = fromHex(vector('door/keys')['keys'].stranger.public)!

describe('what a link brings', () => {
  const link = `https://hotel.example/guest/#key=${base64Url(utf8(JSON.stringify(document())))}`

  it('is a bundle behind key=, and the same when it is pasted in any form', () => {
    const arrival = { kind: 'bundle', document: document() }
    expect(arrivalOf(link.slice(link.indexOf('#')))).toEqual(arrival)
    for (const pasted of [link, ` ${link}\n`, link.slice(link.indexOf('#')), link.slice(link.indexOf('#') + 1), JSON.stringify(document(), null, 2)]) expect(pastedArrival(pasted)).toEqual(arrival)
  })

  it('is an invitation behind check-in=', () => {
    const invitation = { property: 'aurora', stay: 'stay-7', token: 'T0.ken_-~'.repeat(4) }
    expect(arrivalOf(`#check-in=aurora/stay-7/${invitation.token}`)).toEqual({ kind: 'check-in', invitation })
  })

  it.each(['#key=', '#key=%7B', '#key=e30', '#check-in=aurora/stay-7/short', '#check-in=../stay/tttttttttttttttttttttt', `#key=${'A'.repeat(200_000)}`, '#check-in=a/b/c/dddddddddddddddddddd'])('is nonsense: %s', (fragment) => {
    const arrival = arrivalOf(fragment.slice(0, 200_010))
    expect(arrival?.kind === 'nonsense' || (arrival?.kind === 'bundle' && fragment === '#key=e30')).toBe(true)
  })

  it('is none of ours: other fragments are left alone, and a query string brings nothing', () => {
    expect(arrivalOf('')).toBeNull()
    expect(arrivalOf('#about-title')).toBeNull()
    expect(pastedArrival('https://hotel.example/guest/?key=abcd')).toEqual({ kind: 'nonsense' })
    expect(pastedArrival('{"v":')).toEqual({ kind: 'nonsense' })
  })
})

describe('what a bundle is worth', () => {
  it.each([
    [BEGINS_MS - 11 * MINUTE_MS, 'pending'],
    [BEGINS_MS - 9 * MINUTE_MS, 'valid'],
    [BEGINS_MS, 'valid'],
    [ENDS_MS + 9 * MINUTE_MS, 'valid'],
    [ENDS_MS + 11 * MINUTE_MS, 'ended'],
  ])('at %i it is %s', async (nowMs, standing) => {
    expect(standingOf(await holdingOf(document()), nowMs)).toBe(standing)
  })

  it('goes by what was signed where the bundle says more', async () => {
    const longer = await holdingOf({ ...document(), not_before_ms: 0, not_after_ms: ENDS_MS * 2 })
    expect([standingOf(longer, BEGINS_MS - 11 * MINUTE_MS), standingOf(longer, ENDS_MS + 11 * MINUTE_MS)]).toEqual(['pending', 'ended'])
  })

  it('is dropped a day after it ended, not before', async () => {
    const held = [await holdingOf(document())]
    expect(longEnded(held, ENDS_MS + 23 * 60 * MINUTE_MS)).toEqual([])
    expect(longEnded(held, ENDS_MS + 25 * 60 * MINUTE_MS)).toEqual([held[0]!.id])
  })

  it('is taken by the phone it was made for alone, whole and of this version', async () => {
    expect(await arrived(document(), PHONE)).toMatchObject({ id: 'a1a2a3a4a5a6a7a8' })
    expect(await arrived(document(), STRANGER)).toBe('other_phone')
    const grant = document()['grant'] as string
    expect(await arrived({ ...document(), grant: `${grant.slice(0, 60)}${grant[60] === 'A' ? 'B' : 'A'}${grant.slice(61)}` }, PHONE)).toBe('damaged')
    expect(await arrived({ ...document(), grant: 'AAAA' }, PHONE)).toBe('damaged')
    expect(await arrived({ ...document(), v: 3 }, PHONE)).toBe('later_version')
    expect(await arrived({ v: 1 }, PHONE)).toBe('nonsense')
    const later = vector('grant/grants')['refused'].find((each: { name: string }) => each.name === 'an unknown field')
    const base64 = (hexadecimal: string): string => btoa(String.fromCharCode(...fromHex(hexadecimal)!))
    expect(await arrived({ ...document(), grant: base64(later.encoded), issuer_certificate: base64(later.issuer) }, PHONE)).toBe('later_version')
  })

  it('replaces what was given for the same stay at a door it shares, and nothing of another hotel', async () => {
    const old = await holdingOf(document())
    const renewed = { ...old, id: 'ffff', grant: { ...old.grant, grantId: 'ffff', issuedAtS: old.grant.issuedAtS + 1 } }
    expect(withNewest([old], renewed)).toEqual({ holdings: [renewed], replaced: [old.id] })
    expect(withNewest([renewed], old).replaced).toEqual([])
    const other = { ...renewed, bundle: { ...renewed.bundle, stay: 'stay-2' } }
    expect(withNewest([old], other).holdings).toHaveLength(2)
    const elsewhere = { ...renewed, bundle: { ...renewed.bundle, doors: [{ ...old.bundle.doors[0]!, keys: { ...old.bundle.doors[0]!.keys, lockId: fromHex('00'.repeat(8))! } }] } }
    expect(withNewest([old], elsewhere).holdings).toHaveLength(2)
  })

  it('that cannot be read any more is passed over, and the others stay', async () => {
    const kept = [{ id: 'x', document: { v: 9 }, said: {} }, { id: 'y', document: document(), said: {} }]
    expect((await heldOf(kept)).map(({ id }) => id)).toEqual(['a1a2a3a4a5a6a7a8'])
  })
})

describe('checking in over the network', () => {
  const invitation = { property: 'aurora', stay: 'stay-7', token: 't'.repeat(32) }
  const root = new URL('https://hotel.example/')
  const ask = (answer: Response | Error) => checkIn(invitation, 'aa', root, async () => { if (answer instanceof Error) throw answer; return answer })
  const said = (status: number, body: unknown) => Response.json(body, { status })

  it('asks once for one stay and phone, however often it must ask', async () => {
    const asked: [string, RequestInit][] = []
    const fetch = async (address: URL, init: RequestInit) => { asked.push([address.href, init]); return said(503, { reason: 'edge_away' }) }
    await checkIn(invitation, 'aa', root, fetch)
    await checkIn(invitation, 'aa', root, fetch)
    await checkIn(invitation, 'bb', root, fetch)
    const [first, again, other] = asked.map(([, init]) => JSON.parse(String(init.body)))
    expect(asked[0]![0]).toBe('https://hotel.example/api/v1/properties/aurora/stays/stay-7/check-in')
    expect(asked[0]![1]).toMatchObject({ method: 'POST', credentials: 'omit', headers: { Authorization: `Bearer ${'t'.repeat(32)}` } })
    expect(first).toEqual(again)
    expect(other.idempotency_key).not.toBe(first.idempotency_key)
    expect(first.idempotency_key).toMatch(/^[A-Za-z0-9._:-]{1,80}$/u)
  })

  it.each<[Response | Error, object]>([
    [said(200, { bundle: { v: 1 }, stay: {} }), { kind: 'bundle', document: { v: 1 } }],
    [said(200, { stay: {} }), { kind: 'refused', trouble: 'strange' }],
    [said(409, { reason: 'too_early', available_from: '2027-01-15T08:00:00.000Z' }), { kind: 'refused', trouble: 'too_early', fromMs: BEGINS_MS }],
    [said(409, { reason: 'too_early', available_from: 'soon' }), { kind: 'refused', trouble: 'too_early', fromMs: null }],
    [said(504, { reason: 'unanswered' }), { kind: 'refused', trouble: 'unanswered' }],
    [said(409, { reason: 'something new' }), { kind: 'refused', trouble: 'strange' }],
    [said(401, {}), { kind: 'refused', trouble: 'signed_out' }],
    [said(404, {}), { kind: 'refused', trouble: 'signed_out' }],
    [said(500, 'no'), { kind: 'refused', trouble: 'strange' }],
    [new Response('<html>', { status: 502 }), { kind: 'refused', trouble: 'strange' }],
    [new TypeError('Failed to fetch'), { kind: 'refused', trouble: 'offline' }],
    [new DOMException('signal timed out', 'TimeoutError'), { kind: 'refused', trouble: 'unanswered' }],
  ])('%#: every answer has its word', async (answer, outcome) => {
    expect(await ask(answer)).toMatchObject(outcome)
  })
})

describe('the page without its looks', () => {
  it('keeps its key, tells its listeners, and drops what ended long ago', async () => {
    const at = ports()
    await at.keyring.keep({ id: 'a1a2a3a4a5a6a7a8', document: document(), said: {} })
    const guest = await Guest.start(at)
    const heard = vi.fn()
    const stop = guest.subscribe(heard)
    await guest.look()
    expect([guest.state.holdings.length, guest.state.radio, heard.mock.calls.length > 0]).toEqual([1, 'ready', true])
    stop()
    at.nowMs = ENDS_MS + 48 * 60 * MINUTE_MS
    const later = await Guest.start(at)
    expect([later.state.holdings.length, at.keyring.kept.size, later.state.phoneCode]).toEqual([0, 0, guest.state.phoneCode])
  })

  it('takes nothing that is not its own, and nothing is lost by trying', async () => {
    const at = ports()
    await at.keyring.keep({ id: 'a1a2a3a4a5a6a7a8', document: document(), said: {} })
    const guest = await Guest.start(at)
    for (const [arrival, trouble] of [[{ kind: 'bundle', document: document() }, 'other_phone'], [{ kind: 'nonsense' }, 'nonsense']] as const) {
      await guest.take(arrival)
      expect(guest.state.taking).toEqual({ kind: 'failed', trouble })
    }
    await guest.take({ kind: 'check-in', invitation: { property: 'aurora', stay: 's', token: 't'.repeat(32) } })
    expect(guest.state.taking).toMatchObject({ kind: 'refused', trouble: 'offline' })
    expect([guest.state.holdings.length, at.keyring.kept.size]).toEqual([1, 1])
  })

  it('forgets everything at once, its own key too', async () => {
    const at = ports()
    await at.keyring.keep({ id: 'a1a2a3a4a5a6a7a8', document: document(), said: {} })
    const guest = await Guest.start(at)
    const before = guest.state.phoneCode
    await guest.forget()
    expect([guest.state.holdings.length, at.keyring.kept.size, guest.state.phoneCode === before]).toEqual([0, 0, false])
  })

  it('does one thing at a time, and is ready again after a defect', async () => {
    const at = ports()
    await at.keyring.keep({ id: 'a1a2a3a4a5a6a7a8', document: document(), said: {} })
    const guest = await Guest.start(at)
    const [holding] = guest.state.holdings
    const opening = guest.open(holding!, holding!.bundle.doors[0]!)
    expect(await guest.open(holding!, holding!.bundle.doors[1]!)).toBeNull()
    await expect(opening).rejects.toThrow('not in this test')
    expect(guest.state.doing).toBeNull()
  })
})

describe('words', () => {
  const sentences = (words: object, place = ''): [string, string][] =>
    Object.entries(words).flatMap(([name, value]: [string, unknown]): [string, string][] => {
      if (typeof value === 'string') return [[`${place}${name}`, value]]
      if (typeof value === 'function') return [[`${place}${name}`, String((value as (inner: string) => string)('⟨x⟩'))]]
      return sentences(value as object, `${place}${name}.`)
    })

  it.each(LANGUAGES.map((words) => [words.tag, words] as const))('%s says everything, in its own words', (tag, words) => {
    const english = new Map(sentences(spoken(['en'])))
    for (const [place, sentence] of sentences(words)) {
      expect(sentence.trim(), place).not.toBe('')
      expect(sentence.includes('⟨x⟩'), place).toBe(english.get(place)!.includes('⟨x⟩'))
      if (tag !== 'en' && sentence.length > 14) expect(sentence, place).not.toBe(english.get(place))
    }
  })

  it.each(LANGUAGES.map((words) => [words.tag, words] as const))('%s: the short word on a button is part of its whole name', (_, words: Words) => {
    for (const whole of [words.open('X'), words.again('X')]) expect(whole.toLowerCase()).toContain(words.openWord.toLowerCase())
    expect(words.remote.openNamed('X').toLowerCase()).toContain(words.remote.open.toLowerCase())
  })

  it("are those of the first of the reader's languages that we speak", () => {
    expect(spoken(['ja', 'fr-CA', 'de']).tag).toBe('fr')
    expect(spoken(['ja']).tag).toBe('en')
    expect(spoken([]).tag).toBe('en')
    expect(localeOf(spoken(['de']), ['en-US', 'de-AT'])).toBe('de-AT')
    expect(localeOf(spoken(['de']), ['en-US'])).toBe('de')
  })

  it('say a time today by the clock, another day by its date', () => {
    const at = new Date(2027, 0, 15, 15, 0).getTime()
    expect(saidTime(at, at - 3_600_000, 'de-AT')).toBe('15:00')
    expect(saidTime(at, at - 86_400_000, 'de-AT')).toContain('15.')
    expect(saidTime(at, at - 86_400_000 * 60, 'en-GB')).toContain('2027')
  })

  it.each([['Room 101', 'Zimmer 101'], ['room-7b', 'Zimmer 7b'], ['101', 'Zimmer 101'], ['Lobby', 'Lobby'], ['Room with a view', 'Room with a view']])('call %s %s in German', (label, name) => {
    expect(saidDoor(label, spoken(['de']))).toBe(name)
  })

  it('of the vectors: every door of a bundle has a name', () => {
    expect(bundleOf(document()).doors.map((door) => saidDoor(door.label, spoken(['fr'])))).toEqual(['Chambre 101', 'Pool'])
  })
})
