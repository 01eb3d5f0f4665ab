import { fromHex, OPEN_REFUSALS, type VendorKey, vendorKeysOf } from '@innkeeper/door'
import { describe, expect, it } from 'vitest'
import { openToSign } from '../../../packages/door/src'
import { verifyEs256 } from '../../../packages/door/src/primitives'
import { vector } from '../../../packages/door/tests/vectors'
import { Guest } from '../src/guest'
import { othersOf } from '../src/others'
import { askToOpen, REMOTE_SAID, type RemoteSaid, remoteDoorsOf } from '../src/remoteOpening'
import { LANGUAGES } from '../src/words'
import { BEGINS_MS, ports } from './stage'

const invitation = { property: 'aurora', stay: 'stay-1', token: 't'.repeat(32) }
const document = () => structuredClone(vector('door/vendor_keys')['from_afar'])
const [KEY] = vendorKeysOf(document())
const key = (changes: Partial<VendorKey> = {}): VendorKey => ({ ...KEY!, ...changes })
const root = new URL('https://hotel.example/')
const asked = (answer: Response | Error) => askToOpen(invitation, new Uint8Array(2), root, async () => { if (answer instanceof Error) throw answer; return answer })
const said = (status: number, body: unknown) => Response.json(body, { status })

describe('opening from afar is offered', () => {
  it.each<[string, Partial<VendorKey>, boolean]>([
    ['while the key is made', {}, true],
    ['while it is under way', { state: 'wanted' }, true],
    ['not where nothing of it opens from afar', { opens: null }, false],
    ['not when it was refused', { state: 'refused' }, false],
    ['not when it is ending', { state: 'ending' }, false],
    ['not before its time', { notBeforeMs: BEGINS_MS + 1 }, false],
    ['not after it', { notAfterMs: BEGINS_MS }, false],
  ])('%s', (_, changes, is) => {
    expect(remoteDoorsOf(key(changes), invitation, BEGINS_MS).length > 0).toBe(is)
    expect(remoteDoorsOf(key(changes), null, BEGINS_MS), 'without a way to the hotel it is never').toEqual([])
  })
})

describe('what the hotel says', () => {
  it.each<[Response | Error, RemoteSaid]>([
    [said(200, { outcome: 'online-confirmed', reason: null }), 'opened'],
    [said(200, { outcome: 'accepted-by-vendor' }), 'accepted'],
    [said(200, { outcome: 'unknown' }), 'unknown'],
    [said(200, { outcome: 'busy' }), 'busy'],
    [said(200, { outcome: 'off_line' }), 'off_line'],
    [said(200, { outcome: 'no' }), 'no'],
    [said(200, { outcome: 'ajar' }), 'unknown'],
    [said(200, []), 'unknown'],
    [said(200, { outcome: 'refused', reason: 'late' }), 'late'],
    [said(200, { outcome: 'refused', reason: 'ended' }), 'not_yours'],
    [said(200, { outcome: 'refused', reason: 'locked_out' }), 'locked_out'],
    [said(200, { outcome: 'refused', reason: 'time_uncertain' }), 'hotel_clock'],
    [said(200, { outcome: 'refused', reason: 'something new' }), 'strange'],
    [said(400, { reason: 'malformed' }), 'not_yours'],
    [said(401, {}), 'signed_out'],
    [said(403, {}), 'signed_out'],
    [said(404, {}), 'signed_out'],
    [said(409, { reason: 'edge_refused' }), 'not_yours'],
    [said(409, { reason: 'answered_before' }), 'strange'],
    [said(429, {}), 'again'],
    [said(503, { reason: 'edge_away', may_have_taken_effect: false }), 'hotel_away'],
    [said(504, { reason: 'too_late', may_have_taken_effect: false }), 'late'],
    [said(504, { reason: 'unanswered', may_have_taken_effect: true }), 'unknown'],
    [new Response('<html>', { status: 502 }), 'unknown'],
    [new TypeError('Failed to fetch'), 'unknown'],
    [new DOMException('signal timed out', 'TimeoutError'), 'unknown'],
  ])('%#: has its word, and never a better one', async (answer, word) => {
    expect(await asked(answer)).toBe(word)
  })

  it('of a refusal is never that the door opened', async () => {
    for (const reason of OPEN_REFUSALS) expect(['opened', 'accepted', 'unknown', 'strange']).not.toContain(await asked(said(200, { outcome: 'refused', reason })))
  })

  it.each(LANGUAGES.map((words) => [words.tag, words] as const))('%s has a sentence for each, and no two alike', (_, words) => {
    const sentences = REMOTE_SAID.map((word) => words.remote.said[word])
    expect(new Set(sentences).size).toBe(REMOTE_SAID.length)
  })
})

describe('the phone', () => {
  const start = async () => {
    const at = ports()
    const guest = await Guest.start(at)
    const others = othersOf({ id: 'x', document: document(), from: invitation })!
    return { at, guest, others, opening: others.keys[0]! }
  }

  it('signs what the hotel has to see, by its own clock, anew for each act', async () => {
    const { at, guest, others, opening } = await start()
    const sent: [string, RequestInit][] = []
    at.fetch = async (address, init) => { sent.push([address.href, init]); return said(200, { outcome: 'online-confirmed', reason: null }) }
    expect(await guest.openFromAfar(others, opening, 'annex-a1')).toBe('opened')
    expect(guest.state.remotes.get('annex-a1')).toEqual({ said: 'opened', atMs: BEGINS_MS })
    at.nowMs += 4_000
    await guest.openFromAfar(others, opening, 'annex-a1')
    const requests = sent.map(([, init]) => fromHex((JSON.parse(String(init.body)) as { request: string }).request)!)
    expect(sent[0]![0]).toBe('https://hotel.example/api/v1/properties/aurora/stays/stay-1/door-openings')
    expect(sent[0]![1]).toMatchObject({ method: 'POST', credentials: 'omit', headers: { Authorization: `Bearer ${'t'.repeat(32)}` } })
    const [one, two] = requests
    const point = fromHex(guest.state.phoneCode)!
    for (const request of requests) expect(await verifyEs256(point, request.slice(-64), openToSign(request.slice(0, -64)))).toBe(true)
    expect(one!.slice(1, 17)).not.toEqual(two!.slice(1, 17))
    const issuedMs = (request: Uint8Array) => Number(new DataView(request.buffer).getBigUint64(17))
    expect(requests.map(issuedMs)).toEqual([BEGINS_MS, BEGINS_MS + 4_000])
  })

  it('asks one at a time, and nobody where it is off line', async () => {
    const { at, guest, others, opening } = await start()
    let answer: (response: Response) => void = () => {}
    let count = 0
    at.fetch = () => { count += 1; return new Promise((resolve) => { answer = resolve }) }
    const first = guest.openFromAfar(others, opening, 'annex-a1')
    expect(await guest.openFromAfar(others, opening, 'annex-a1')).toBeNull()
    while (count === 0) await new Promise((resolve) => setTimeout(resolve, 0))
    expect(guest.state.remote).toBe('annex-a1')
    answer(said(200, { outcome: 'accepted-by-vendor' }))
    expect(await first).toBe('accepted')
    expect([guest.state.remote, count]).toEqual([null, 1])
    at.isOnLine = () => false
    expect(await guest.openFromAfar(others, opening, 'annex-a1')).toBe('phone_off_line')
    expect(count).toBe(1)
  })

  it('asks nothing for a key that opens nothing from afar, or came without a way to the hotel', async () => {
    const { guest, others, opening } = await start()
    expect(await guest.openFromAfar({ ...others, from: null }, opening, 'annex-a1')).toBeNull()
    expect(await guest.openFromAfar(others, { ...opening, opens: null }, 'annex-a1')).toBeNull()
    expect(guest.state.remotes.size).toBe(0)
  })
})
