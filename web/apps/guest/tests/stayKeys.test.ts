import { describe, expect, it } from 'vitest'
import { Guest } from '../src/guest'
import { KEY_TROUBLES, readKeys, stayKeys } from '../src/keys/stayKeys'
import { keyWords } from '../src/keys/words'
import { LANGUAGES } from '../src/words'
import { ports } from './stage'

const from = { property: 'aurora', stay: 'stay-1', token: 't'.repeat(32) }
const root = new URL('https://hotel.example/')
const KEY = {
  key: '0f1e2d3c4b5a6978', mine: false, main: false, since: '2026-11-21T10:00:00.000Z', until: '2026-11-24T10:00:00.000Z', state: 'taken_back',
  used: { at: '2026-11-21T11:00:00.000Z', certain: true, door: 'Room 101' }, doors: 2,
  waiting: [{ door: 'Pool', contact_at: null }, { door: 'Room 101', contact_at: '2026-11-21T09:00:00.000Z' }],
  elsewhere: [{ system: 'annex', medium: 'pin', state: 'ending', truth: 'accepted-by-vendor' }],
}
const LIST = { takes_back: true, keys: [{ ...KEY, mine: true, main: true, state: 'valid', used: null, waiting: [], elsewhere: [] }, KEY], others: [] }

describe('the keys of a stay', () => {
  it('are asked for with the link alone, and read with the doors that may still take one', async () => {
    const asked: [string, RequestInit][] = []
    const told = await stayKeys(from, root, async (address, init) => { asked.push([address.pathname, init]); return Response.json(LIST) })
    expect(asked.map(([path, init]) => [path, init.method, init.credentials, new Headers(init.headers).get('authorization')])).toEqual([
      ['/api/v1/properties/aurora/stays/stay-1/keys', undefined, 'omit', `Bearer ${from.token}`],
    ])
    if (told.kind !== 'keys') throw new Error(told.trouble)
    expect(told.keys.keys[1]).toEqual({
      key: KEY.key, mine: false, main: false, state: 'taken_back', sinceMs: Date.parse(KEY.since),
      used: { atMs: Date.parse(KEY.used.at), certain: true, door: 'Room 101' },
      waiting: [{ door: 'Pool', contactMs: null }, { door: 'Room 101', contactMs: Date.parse('2026-11-21T09:00:00.000Z') }],
      elsewhere: [{ system: 'annex', state: 'ending' }],
    })
  })

  it('are taken back by name, and the guest’s page keeps nothing of it', async () => {
    const at = ports()
    const guest = await Guest.start(at)
    const asked: unknown[] = []
    at.fetch = async (address, init) => { asked.push([address.pathname, init.method, JSON.parse(String(init.body))]); return Response.json(LIST) }
    expect((await guest.stayKeys(from, KEY.key)).kind).toBe('keys')
    expect(asked).toEqual([['/api/v1/properties/aurora/stays/stay-1/taken-back-keys', 'POST', { key: KEY.key }]])
    expect(at.keyring.kept.size).toBe(0)
  })

  it.each<[string, () => Promise<Response>, string]>([
    ['no line', async () => { throw new TypeError('Failed to fetch') }, 'offline'],
    ['no answer', async () => { throw new DOMException('late', 'TimeoutError') }, 'unanswered'],
    ['a page of a hotspot', async () => new Response('<html>', { status: 200 }), 'strange'],
    ['another form', async () => Response.json({ ...LIST, keys: [{ ...KEY, state: 'lost' }] }), 'strange'],
    ['a link that has ended', async () => Response.json({ detail: 'no' }, { status: 403 }), 'signed_out'],
    ['not the main guest', async () => Response.json({ reason: 'not_main' }, { status: 403 }), 'not_main'],
    ['his own key', async () => Response.json({ reason: 'own_key' }, { status: 409 }), 'own_key'],
    ['a hotel that is cut off', async () => Response.json({ reason: 'edge_away' }, { status: 503 }), 'edge_away'],
    ['a full list', async () => Response.json({ reason: 'edge_refused' }, { status: 409 }), 'edge_refused'],
    ['a fault', async () => Response.json({}, { status: 500 }), 'strange'],
  ])('say what is wrong: %s', async (_what, answer, trouble) => {
    expect(await stayKeys(from, root, answer)).toEqual({ kind: 'trouble', trouble })
  })

  it.each([
    null, [], {}, { ...LIST, takes_back: 1 }, { ...LIST, keys: {} }, { ...LIST, others: [{}] }, { ...LIST, keys: [{ ...KEY, used: {} }] },
    { ...LIST, keys: [{ ...KEY, used: undefined }] }, { ...LIST, keys: [{ ...KEY, waiting: [{}] }] }, { ...LIST, keys: [{ ...KEY, mine: 'yes' }] }, { ...LIST, keys: [{ ...KEY, elsewhere: [{ system: 'x', state: 'gone' }] }] },
  ])('of no known form are no list: %j', (body) => {
    expect(readKeys(body)).toBeNull()
  })

  it('have words for every trouble in every language, and say how many doors do not know', () => {
    for (const { tag } of LANGUAGES) {
      const said = keyWords(tag)
      for (const trouble of KEY_TROUBLES) expect(said.troubles[trouble]).not.toBe('')
      expect(said.waiting(3)).toContain('3')
      expect(said.waiting(1)).not.toBe(said.waiting(2))
      expect(said.lastHeard('Pool', '09:00')).toMatch(/Pool.*09:00/u)
      if (tag !== 'en') expect(said.title).not.toBe(keyWords('en').title)
    }
  })
})
