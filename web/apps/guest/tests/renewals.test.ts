import { describe, expect, it } from 'vitest'
import { vector } from '../../../packages/door/tests/vectors'
import { Guest } from '../src/guest'
import { BEGINS_MS, ENDS_MS, MINUTE_MS, ports } from './stage'

const invitation = { property: 'aurora', stay: 'stay-7', token: 'ikg_'.padEnd(47, 'x') }
const DAY_MS = 24 * 60 * MINUTE_MS

/** A page that holds the key of the vectors, by a link; `cloud` answers what it asks. */
async function page(cloud: { ends: () => Response | Error; keys: () => Response }) {
  const at = ports(BEGINS_MS)
  const document = vector('door/bundle')['bundle']
  at.keyring.kept.set('x', { id: 'x', document, said: {}, from: invitation } as never)
  const asked = { terms: 0, keys: 0 }
  at.fetch = async (address: URL) => {
    if (!address.pathname.endsWith('/stays/stay-7/key-term')) { asked.keys += 1; return cloud.keys() }
    asked.terms += 1
    const answer = cloud.ends()
    if (answer instanceof Error) throw answer
    return answer
  }
  return { at, asked, guest: await Guest.start(at) }
}

const term = (ms: number): Response => Response.json({ ends_at: new Date(ms).toISOString() })
const refusal = (status: number, reason: string): Response => Response.json({ reason }, { status })

describe('a stay that is made longer', () => {
  it('has its key asked for at once, and not again while the hotel has no more to give', async () => {
    let ends = ENDS_MS - MINUTE_MS
    const { at, asked, guest } = await page({ ends: () => term(ends), keys: () => refusal(503, 'edge_away') })
    await guest.renew()
    expect(asked).toEqual({ terms: 1, keys: 0 }) // it ends before the key does
    ends = ENDS_MS + DAY_MS
    for (let turn = 0; turn < 5; turn += 1) await guest.renew()
    expect(asked.keys).toBe(1)
    at.nowMs += MINUTE_MS
    await guest.renew()
    expect(asked.keys).toBe(2) // nobody had answered
    ends += DAY_MS
    await guest.renew()
    expect(asked.keys).toBe(3) // longer once more: at once
    expect(guest.state.taking.kind).toBe('idle') // quietly
    expect(guest.state.holdings).toHaveLength(1) // the key that is held stays
  })

  it('is asked for again soon where the house gives the old key that ends soon: it has not heard of a late check-out', async () => {
    const { at, asked, guest } = await page({ ends: () => term(ENDS_MS + 2 * 60 * MINUTE_MS), keys: () => Response.json({ bundle: vector('door/bundle')['bundle'], stay: {} }) })
    at.nowMs = ENDS_MS - 7 * 60 * MINUTE_MS
    await guest.renew()
    at.nowMs += MINUTE_MS
    await guest.renew()
    expect(asked.keys).toBe(1) // there is time: the one that is held opens for hours
    at.nowMs += 6 * 60 * MINUTE_MS
    for (const keys of [2, 3, 4]) {
      await guest.renew()
      expect(asked.keys).toBe(keys)
      at.nowMs += MINUTE_MS
    }
  })

  it('has keys of other makers asked for as well, a card not: that is written at the desk', async () => {
    for (const [medium, keys] of [['pin', 1], ['mobile', 1], ['card', 0]] as const) {
      const at = ports(BEGINS_MS)
      const document = structuredClone(vector('door/vendor_keys')['alone'])
      for (const key of document.vendor_keys) key.medium = medium
      at.keyring.kept.set('x', { id: 'x', document, said: {}, from: { ...invitation, stay: document.stay } } as never)
      const longer = document.vendor_keys[0].not_after_ms + DAY_MS
      let asked = 0
      at.fetch = async (address: URL) => {
        if (address.pathname.endsWith('/key-term')) return term(longer)
        asked += 1
        return Response.json({ bundle: { ...document, vendor_keys: document.vendor_keys.map((key: object) => ({ ...key, not_after_ms: longer })) }, stay: {} })
      }
      const guest = await Guest.start(at)
      await guest.renew()
      await guest.renew()
      expect([medium, asked]).toEqual([medium, keys])
      if (keys > 0) expect(guest.state.others[0]!.keys[0]!.notAfterMs).toBe(longer)
    }
  })

  it('leaves a hotel that said no in peace for longer', async () => {
    const { at, asked, guest } = await page({ ends: () => term(ENDS_MS + DAY_MS), keys: () => refusal(409, 'edge_refused') })
    await guest.renew()
    at.nowMs += 9 * MINUTE_MS
    await guest.renew()
    expect(asked.keys).toBe(1)
    at.nowMs += MINUTE_MS
    await guest.renew()
    expect(asked.keys).toBe(2)
  })

  it.each([401, 403, 404])('asks no more with a link that opens nothing: %i', async (status) => {
    const { asked, guest } = await page({ ends: () => refusal(status, 'x'), keys: () => refusal(409, 'ended') })
    for (let turn = 0; turn < 3; turn += 1) await guest.renew()
    expect(asked).toEqual({ terms: 1, keys: 0 })
  })

  it.each([new TypeError('Failed to fetch'), new Response('<html>'), Response.json({ ends_at: 'soon' }), Response.json(null), refusal(503, 'x')])('takes no answer for what it is: %#', async (answer) => {
    const { asked, guest } = await page({ ends: () => (answer instanceof Error ? answer : answer.clone()), keys: () => refusal(409, 'ended') })
    for (let turn = 0; turn < 2; turn += 1) await guest.renew()
    expect(asked).toEqual({ terms: 2, keys: 0 })
    expect(guest.state.holdings).toHaveLength(1)
  })
})
