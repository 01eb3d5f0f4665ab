import { fromBase64Url, fromHex, hex, newPhoneKey, utf8 } from '@innkeeper/door'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { vector } from '../../../packages/door/tests/vectors'
import { type EmergencyDraft, keyLink, Question, roomsOf, standingOf, wrongPerson, wrongPoint, wrongReason, zonesOf } from '../src/keyAsking'
import { keyOf, kidOf } from '../src/officerKey'
import { Refused } from '../src/passkeys'

const NOW_MS = Date.parse('2026-11-21T12:00:00Z')
const DRAFT: EmergencyDraft = {
  grant: 'a1a2a3a4a5a6a7a8', person: 'anton', reason: 'smoke', doors: ['door-101'], statement: 'ab', officers: ['4a5691a0'], drafted_by: 'ann',
  until: '2026-11-21T12:15:00Z', approvals: [], issued: false, withdrawn_at: null, withdrawn_by: null,
}
const APPROVED = { by: 'ann', officer: '4a5691a0', at: null }

afterEach(() => vi.unstubAllGlobals())

describe('what is asked about keys', () => {
  it('is the same question until it was answered, and another one then', async () => {
    vi.stubGlobal('document', { baseURI: 'https://hotel.example/' })
    const keys: string[] = []
    const answers = [() => Promise.reject(new TypeError('line')), () => Response.json({ type: 'urn:innkeeper:problem:unanswered' }, { status: 504 }), () => Response.json({}), () => Response.json({ type: 'urn:innkeeper:problem:edge-refused', detail: 'no' }, { status: 409 }), () => Response.json({})]
    vi.stubGlobal('fetch', async (_address: URL, init: RequestInit) => {
      keys.push((JSON.parse(String(init.body)) as { idempotency_key: string }).idempotency_key)
      return answers.shift()!()
    })
    const question = new Question()
    for (let turn = 0; turn < 5; turn += 1) await question.ask('api/v1/x', { reason: 'lost' }).catch((error: unknown) => expect(error).toBeInstanceOf(Refused))
    expect(keys.map((key) => keys.indexOf(key))).toEqual([0, 0, 0, 3, 4])
  })

  it('is looked at before it is sent', () => {
    expect([wrongPoint(`03${'ab'.repeat(32)}`), wrongPerson('maria-k'), wrongReason('lost')]).toEqual([null, null, null])
    for (const wrong of ['', '04' + 'ab'.repeat(32), '03' + 'AB'.repeat(32), '03ab']) expect(wrongPoint(wrong)).not.toBeNull()
    for (const wrong of ['', 'Maria', '-x', 'a'.repeat(41)]) expect(wrongPerson(wrong)).not.toBeNull()
    for (const wrong of ['', ' a ']) expect(wrongReason(wrong)).not.toBeNull()
    expect(roomsOf(' 101, 102;101 ', ['101', '102'])).toEqual(['101', '102'])
    for (const wrong of ['', ' , ', '101 999']) expect(roomsOf(wrong, ['101', '102'])).toBeNull()
    expect(['4', ' 1, 4;4 ', '3 4294967296', '9007199254740991'].map(zonesOf)).toEqual([4, 5, 4_294_967_299, 9_007_199_254_740_991])
    for (const wrong of ['', ' , ', '0', '-1', '1.5', '0x4', '4 x', '9007199254740992', '9'.repeat(40)]) expect(zonesOf(wrong)).toBeNull()
  })

  it.each<[Partial<EmergencyDraft>, number, string]>([
    [{}, 0, 'waiting'],
    [{ approvals: [APPROVED] }, 0, 'waiting'],
    [{ approvals: [APPROVED, APPROVED] }, 0, 'approved'],
    [{ issued: true }, 0, 'issued'],
    [{ issued: true }, 900_000, 'over'],
    [{ withdrawn_at: '2026-11-21T12:01:00Z', issued: true }, 0, 'withdrawn'],
  ])('a draft of %j, %i ms on, is %s', (changes, later, standing) => {
    expect(standingOf({ ...DRAFT, ...changes }, NOW_MS + later)).toBe(standing)
  })

  it('a key goes to its phone behind the # of the guest’s page', () => {
    const bundle = { v: 1, stay: 'staff/maria', label: 'Suite Ö' }
    const link = new URL(keyLink(bundle, 'https://hotel.example/'))
    expect(link.pathname).toBe('/guest/')
    const bytes = fromBase64Url(link.hash.slice('#key='.length))!
    expect(JSON.parse(new TextDecoder().decode(bytes))).toEqual(bundle)
  })
})

describe('an officer’s key', () => {
  it('is named as the building names it, and its signature verifies over the statement alone', async () => {
    const pair = await newPhoneKey()
    const mine = await keyOf(pair)
    expect([mine.point.length, mine.kid.length, pair.privateKey.extractable]).toEqual([66, 8, false])
    const statement = hex(utf8('innkeeper/grant/1 approve\0')) + 'ab'.repeat(32)
    const signature = fromHex(await mine.sign(statement))!
    const verify = (data: string) => crypto.subtle.verify({ name: 'ECDSA', hash: 'SHA-256' }, pair.publicKey, signature, fromHex(data)!)
    expect([signature.length, await verify(statement), await verify('cd'.repeat(58))]).toEqual([64, true, false])
    const others = ['innkeeper/door/1 unlock\0', 'innkeeper/door/1 remote open\0', 'innkeeper/grant/1 approvE\0'].map((label) => hex(utf8(label)) + 'ab'.repeat(32))
    for (const wrong of ['', 'xyz', 'ab'.repeat(58), statement.slice(2), `${statement}00`, ...others]) await expect(mine.sign(wrong)).rejects.toThrow(Refused)
  })

  it('has the id that the vectors give each of their keys', async () => {
    const known = Object.values(vector('door/keys')['keys'] as Record<string, { public: string; kid: string }>)
    expect(known.length).toBeGreaterThan(3)
    for (const { public: point, kid } of known) expect(await kidOf(fromHex(point)!)).toBe(kid)
  })
})
