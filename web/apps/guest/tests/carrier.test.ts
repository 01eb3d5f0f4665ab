/** What the page carries between the house and its locks: once, bounded, and never in the guest's way. */
import { hex } from '@innkeeper/door'
import { describe, expect, it, vi } from 'vitest'
import { ASK_EACH_MS, Carrier, CHUNKS_KEPT_MOST, REST_AFTER_FAILURE_MS } from '../src/carrier'
import { type Holding, holdingOf } from '../src/holdings'
import { bundleDocument, MemoryCarriage } from './carriage'

const FROM = { property: 'aurora', stay: 'stay 7', token: 'ikg_0123456789abcdef' }
const bytes = (...each: number[]) => Uint8Array.from(each)
const said = (status: number, body: unknown): Response => new Response(typeof body === 'string' ? body : JSON.stringify(body), { status })

async function stage(...answers: (Response | Error)[]) {
  const holding: Holding = await holdingOf(bundleDocument(), {}, FROM)
  const lock = hex(holding.bundle.doors[0]!.keys.lockId)
  const carriage = new MemoryCarriage()
  const clock = { ms: 1_000 }
  const fetch = vi.fn(async (_address: URL, _init: RequestInit) => {
    const answer = answers.shift() ?? said(503, {})
    if (answer instanceof Error) throw answer
    return answer
  })
  const carrier = new Carrier(carriage, fetch, new URL('https://hotel.example/'), () => clock.ms)
  const asked = (at = -1): Record<string, any> => JSON.parse(String(fetch.mock.calls.at(at)![1].body)) as Record<string, any>
  return { holding, lock, carriage, clock, fetch, carrier, asked, turn: () => carrier.turn([holding]) }
}

const standing = (lock: string, have: number, carry: object[] = []): object => ({ lock, have, carry })

describe('carrying', () => {
  it('asks how the locks stand, with the invitation, and not again before its time', async () => {
    const { turn, fetch, asked, lock, carriage, clock, holding } = await stage(said(200, { taken: [], locks: [] }), said(200, { taken: [], locks: [] }))
    fetch.mockResolvedValueOnce(said(200, { taken: [], locks: [standing(lock, 40, [{ signed: 'AQI=', certificate: 'Aw==' }])] }))
    await turn()
    const [address, init] = fetch.mock.calls[0]!
    expect(address.href).toBe('https://hotel.example/api/v1/properties/aurora/stays/stay%207/carried')
    expect((init.headers as Record<string, string>)['Authorization']).toBe(`Bearer ${FROM.token}`)
    expect(asked()).toEqual({ chunks: [], locks: holding.bundle.doors.map((door) => hex(door.keys.lockId)) })
    expect(carriage.standings.get(`${holding.id} ${lock}`)).toEqual({ holding: holding.id, lock, reached: 40, carry: [{ signed: bytes(1, 2), certificate: bytes(3) }] })
    await turn()
    clock.ms += ASK_EACH_MS - 1
    await turn()
    expect(fetch).toHaveBeenCalledTimes(1)
    clock.ms += 1
    await turn()
    expect(fetch).toHaveBeenCalledTimes(2)
  })

  it('a key that was handed over whole knows no way to the house', async () => {
    const { carrier, fetch } = await stage()
    const holding = await holdingOf(bundleDocument())
    expect(carrier.errandsOf(holding)).toBeNull()
    await carrier.turn([holding])
    expect(fetch).not.toHaveBeenCalled()
  })

  it('what a door gave is brought at the next turn, and dropped when the house has it', async () => {
    const { turn, carrier, holding, lock, carriage, asked } = await stage(said(200, { taken: [], locks: [] }))
    await turn()
    await carriage.keepStanding({ holding: holding.id, lock, reached: 20, carry: [] })
    const errands = carrier.errandsOf(holding)!
    expect(await errands.at(lock)).toEqual({ carry: [], after: 20 })
    await errands.fetched(lock, bytes(9, 9), 33)
    expect(await errands.at(lock)).toEqual({ carry: [], after: 33 })
    await turn() // the line is down
    expect(carriage.kept).toHaveLength(1)
    expect(asked()['chunks']).toEqual([{ lock, sealed: 'CQk=' }])
  })

  it.each([
    [said(503, { reason: 'edge_away' }), 1, REST_AFTER_FAILURE_MS],
    [said(429, {}), 1, REST_AFTER_FAILURE_MS],
    [said(200, '<html>'), 1, REST_AFTER_FAILURE_MS],
    [said(200, { taken: [], locks: [{ lock: 7 }] }), 1, REST_AFTER_FAILURE_MS],
    [new TypeError('Failed to fetch'), 1, REST_AFTER_FAILURE_MS],
    [said(403, {}), 0, ASK_EACH_MS],
    [said(200, { taken: [{ outcome: 'stored' }], locks: [] }), 0, ASK_EACH_MS],
    [said(200, { taken: [{ outcome: 'refused' }], locks: [] }), 0, ASK_EACH_MS],
    [said(200, { taken: [{ outcome: 'later' }], locks: [] }), 1, REST_AFTER_FAILURE_MS],
  ])('%#: what is kept, and when the house is asked again', async (answer, kept, afterMs) => {
    const { turn, holding, lock, carriage, clock, fetch } = await stage(answer)
    await carriage.keepChunk({ holding: holding.id, lock, sealed: bytes(1) })
    await turn()
    expect(carriage.kept).toHaveLength(kept)
    clock.ms += afterMs - 1
    await turn()
    expect(fetch).toHaveBeenCalledTimes(1)
    clock.ms += 1
    await turn()
    expect(fetch).toHaveBeenCalledTimes(2)
  })

  it('after a gap the log is fetched from where the house has it, unless the rest is still on its way', async () => {
    const gap = await stage()
    gap.fetch.mockResolvedValueOnce(said(200, { taken: [{ outcome: 'gap' }], locks: [standing(gap.lock, 20)] }))
    await gap.carriage.keepStanding({ holding: gap.holding.id, lock: gap.lock, reached: 60, carry: [] })
    await gap.carriage.keepChunk({ holding: gap.holding.id, lock: gap.lock, sealed: bytes(1) })
    await gap.turn()
    expect((await gap.carriage.standing(gap.holding.id, gap.lock))?.reached).toBe(20)
    const later = await stage()
    later.fetch.mockResolvedValueOnce(said(200, { taken: [{ outcome: 'later' }], locks: [standing(later.lock, 20)] }))
    await later.carriage.keepStanding({ holding: later.holding.id, lock: later.lock, reached: 60, carry: [] })
    await later.carriage.keepChunk({ holding: later.holding.id, lock: later.lock, sealed: bytes(1) })
    await later.turn()
    expect((await later.carriage.standing(later.holding.id, later.lock))?.reached).toBe(60)
  })

  it('a full carriage takes no more, but still hands over', async () => {
    const { carrier, holding, lock, carriage } = await stage()
    const object = { signed: bytes(1), certificate: bytes(2) }
    await carriage.keepStanding({ holding: holding.id, lock, reached: 5, carry: [object] })
    for (let no = 0; no < CHUNKS_KEPT_MOST; no += 1) await carriage.keepChunk({ holding: holding.id, lock, sealed: bytes(no) })
    const errands = carrier.errandsOf(holding)!
    expect(await errands.at(lock)).toEqual({ carry: [object], after: null })
    await errands.handed(lock, object)
    expect((await errands.at(lock))?.carry).toEqual([])
    expect(await errands.at('0000000000000000')).toBeNull()
  })
})
