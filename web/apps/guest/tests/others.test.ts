import type { VendorKey } from '@innkeeper/door'
import { describe, expect, it } from 'vitest'
import { vector } from '../../../packages/door/tests/vectors'
import { Guest } from '../src/guest'
import { isAlone, othersOf, standingOfKey } from '../src/others'
import { BEGINS_MS, ENDS_MS, MINUTE_MS, ports } from './stage'

const alone = (...keys: object[]): Record<string, any> => {
  const document = structuredClone(vector('door/vendor_keys')['alone'])
  return keys.length === 0 ? document : { ...document, vendor_keys: keys.map((key) => ({ ...document.vendor_keys[0], ...key })) }
}
const invitation = { property: 'aurora', stay: 'stay-1', token: 't'.repeat(32) }
const WANTED = { state: 'wanted', truth: null, code: null }

describe('keys of other makers', () => {
  it.each<[Partial<VendorKey>, string]>([
    [{}, 'pin'],
    [{ medium: 'card' }, 'card'],
    [{ medium: 'mobile' }, 'mobile'],
    [{ medium: 'card', state: 'wanted' }, 'at_desk'],
    [{ state: 'wanted' }, 'under_way'],
    [{ state: 'refused' }, 'refused'],
    [{ state: 'ending' }, 'over'],
    [{ state: 'ended' }, 'over'],
    [{ notAfterMs: BEGINS_MS - 1 }, 'over'],
  ])('%j stand as %s', (changes, standing) => {
    const [key] = othersOf({ id: 'x', document: alone(), from: null })!.keys
    expect(standingOfKey({ ...key!, ...changes }, BEGINS_MS)).toBe(standing)
  })

  it('are kept without a grant, one document a stay, and are there again with no network', async () => {
    const at = ports()
    const guest = await Guest.start(at)
    for (const code of ['111222', '730941']) await guest.take({ kind: 'bundle', document: alone({ code }) })
    expect([guest.state.taking.kind, guest.state.holdings.length, at.keyring.kept.size]).toEqual(['taken', 0, 1])
    const later = await Guest.start(at)
    expect(later.state.others.map(({ keys }) => keys.map(({ code }) => code))).toEqual([['730941']])
    at.nowMs = ENDS_MS + 25 * 60 * MINUTE_MS
    expect((await Guest.start(at)).state.others).toEqual([])
    expect(at.keyring.kept.size).toBe(0)
  })

  it('are asked for until the vendor has said yes, each time a new question, and no line is no news', async () => {
    const at = ports()
    const asked: string[] = []
    const answers: (object | Error)[] = [alone(WANTED), new TypeError('Failed to fetch'), alone({ ...WANTED, problem: 'annex: busy' }), alone({ code: '730941' })]
    at.fetch = async (_address, init) => {
      asked.push((JSON.parse(String(init.body)) as { idempotency_key: string }).idempotency_key)
      const answer = answers.shift()!
      if (answer instanceof Error) throw answer
      return Response.json({ bundle: answer, stay: {} })
    }
    const guest = await Guest.start(at)
    await guest.take({ kind: 'check-in', invitation })
    for (let turn = 0; turn < 5; turn += 1) await guest.look()
    expect(guest.state.others[0]!.keys[0]!.code).toBe('730941')
    expect(guest.state.taking.kind).toBe('taken')
    expect(asked).toHaveLength(4)
    expect(asked[1]).toBe(asked[2]) // the one that got no answer is asked again
    expect(new Set(asked).size).toBe(3)
  })

  it('do not ask by themselves while a card waits for the desk, and do when the guest asks', async () => {
    const at = ports()
    const guest = await Guest.start(at)
    at.fetch = async () => Response.json({ bundle: alone({ ...WANTED, medium: 'card' }), stay: {} })
    await guest.take({ kind: 'check-in', invitation })
    let asked = 0
    at.fetch = async () => { asked += 1; return Response.json({ bundle: alone({ medium: 'card', code: null }), stay: {} }) }
    await guest.look()
    expect(asked).toBe(0)
    await guest.lookAgain(guest.state.others[0]!)
    expect([asked, guest.state.others[0]!.keys[0]!.state]).toEqual([1, 'made'])
  })

  it('are no keys of ours: a document that is neither is not taken', async () => {
    const at = ports()
    const guest = await Guest.start(at)
    for (const wrong of [{ ...alone(), doors: [{}] }, { ...alone(), vendor_keys: [] }, alone({ truth: 'surely' }), { ...alone(), v: 2 }]) {
      expect(isAlone(wrong)).toBe(false)
      await guest.take({ kind: 'bundle', document: wrong })
      expect(guest.state.taking.kind).toBe('failed')
    }
    expect(at.keyring.kept.size).toBe(0)
  })
})
