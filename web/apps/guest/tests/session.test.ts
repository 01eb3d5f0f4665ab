/** What the check-in reads and sends, without a browser. */
import { describe, expect, it } from 'vitest'
import { COUNTRIES, countriesIn } from '../src/session/countries'
import { zoneOf } from '../src/session/forms'
import { canRedo, stepNow, Walk } from '../src/session/walk'
import { problemOf, sessionOf } from '../src/session/wire'
import { sessionWords } from '../src/session/words'
import { LANGUAGES } from '../src/words'

const step = (kind: string, subject: string, state = 'open', reason: string | null = null) => ({ step: kind, subject, state, reason })
const body = (changes: object = {}) => ({
  id: 'ci-1', house: 'Hotel Aurora', zone: 'Europe/Vienna', arrives_at: '2027-01-15T14:00:00.000Z', leaves_at: '2027-01-16T10:00:00.000Z',
  state: 'open', terms: '1', deposit: null, steps: [step('terms', 'party'), step('room', 's', 'done'), step('grant', 's')], next: step('terms', 'party'),
  waits_for: null, help_asked_at: null, ...changes,
})
const invitation = { property: 'aurora', stay: 's', token: 't'.repeat(32) }

function walk(answers: (Response | Error)[]) {
  const [asked, kept]: [[string, RequestInit][], { text: string | null }] = [[], { text: null }]
  const gone: string[] = []
  const it = new Walk({
    go: (address) => { gone.push(address.href) },
    root: new URL('https://hotel.example/'),
    language: () => 'de',
    memory: { get: () => kept.text, set: (text) => { kept.text = text }, clear: () => { kept.text = null } },
    fetch: async (address, init) => {
      asked.push([address.pathname, init])
      const answer = answers.shift() ?? new TypeError('Failed to fetch')
      if (answer instanceof Error) throw answer
      return answer
    },
  })
  return { it, asked, kept, gone }
}

describe('a session as the cloud tells it', () => {
  it('is read whole', () => {
    expect(sessionOf(body({ deposit: { currency: 'EUR', minor: 5 }, waits_for: 'room' }))).toMatchObject({ house: 'Hotel Aurora', deposit: { minor: 5 }, waitsFor: 'room', isOver: false })
  })

  it.each([
    null, [], 'x', {}, body({ steps: 'none' }), body({ steps: [step('dance', 'g1')] }), body({ steps: [step('terms', 'party', 'perhaps')] }), body({ next: step('dance', 'g1') }), body({ arrives_at: 'soon' }), body({ id: 7 }),
  ])('%#: is not guessed at: a step that is not known is not passed over', (said) => {
    expect(sessionOf(said)).toBeNull()
  })

  it.each([
    [401, {}, { kind: 'line', trouble: 'signed_out' }],
    [409, { reason: 'too_early', available_from: '2027-01-15T08:00:00.000Z' }, { kind: 'line', trouble: 'too_early', fromMs: Date.parse('2027-01-15T08:00:00Z') }],
    [409, { reason: 'no_session' }, { kind: 'gone' }],
    [409, { reason: 'front_desk' }, { kind: 'front_desk' }],
    [409, { reason: 'news' }, { kind: 'line', trouble: 'strange' }],
    [429, {}, { kind: 'line', trouble: 'edge_away' }],
    [400, { field: 'birth_date' }, { kind: 'field', field: 'birth_date' }],
    [400, { detail: 'Expected `str` of length >= 1 - at `$.surname`' }, { kind: 'field', field: 'surname' }],
    [422, { findings: [{ field: 'composite', line: 2, first: 44, last: 44 }, { field: 'birth_date', line: 2, first: 14, last: 20 }, null] }, { kind: 'zone', findings: [{ field: 'birth_date', line: 2, first: 14, last: 20 }] }],
    [422, {}, { kind: 'zone', findings: [] }],
  ])('%#: every refusal has its kind', (status, said, problem) => {
    expect(problemOf(status, said)).toMatchObject(problem)
  })
})

const paper = { version: '1', language: null, text: null, sha256: null }
const paying = (state: string | null, failure: string | null = null) =>
  body({ deposit: { currency: 'EUR', minor: 5_000 }, steps: [step('payment', 'party'), step('grant', 's')], next: step('payment', 'party'), deposit_standing: { held: false, by_page: true, state, failure } })

describe('the deposit', () => {
  it('is paid on the page that the cloud names, and on none without TLS', async () => {
    const { it: at, asked, gone } = walk([Response.json(paying(null)), Response.json({ url: 'http://pay.example/1' }), Response.json({ url: 'javascript:alert(1)' }), Response.json({ url: 'https://pay.example/1' })])
    await at.follow(invitation)
    for (const _ of [1, 2]) {
      await at.pay()
      expect([gone, at.state.problem]).toEqual([[], { kind: 'line', trouble: 'strange', fromMs: null }])
    }
    await at.pay()
    expect([gone, at.state.isLeaving, at.state.problem, asked[3]?.[1].body]).toEqual([['https://pay.example/1'], true, null, '{"language":"de"}'])
    await at.pay()
    expect(gone).toHaveLength(1)
  })

  it.each([
    [Response.json({ reason: 'no_provider' }, { status: 409 }), { kind: 'payment', what: 'refused' }],
    [Response.json({ type: 'urn:innkeeper:problem:provider-away' }, { status: 503 }), { kind: 'payment', what: 'away' }],
    [new TypeError('Failed to fetch'), { kind: 'line', trouble: 'offline', fromMs: null }],
    [new DOMException('', 'TimeoutError'), { kind: 'line', trouble: 'unanswered', fromMs: null }],
    [new Response('<html>', { status: 502 }), { kind: 'line', trouble: 'strange', fromMs: null }],
  ])('%#: what keeps the page from opening is said, and it may be tried again', async (answer, problem) => {
    const { it: at, gone } = walk([Response.json(paying(null)), answer as Response, Response.json({ url: 'https://pay.example/1' })])
    await at.follow(invitation)
    await at.pay()
    expect([at.state.problem, at.state.isBusy, at.state.isLeaving, gone]).toEqual([problem, false, false, []])
    await at.pay()
    expect([gone, at.state.problem]).toEqual([['https://pay.example/1'], null])
  })

  it('that the desk has taken meanwhile is not paid again', async () => {
    const done = body({ steps: [step('payment', 'party', 'waived'), step('grant', 's')], next: step('grant', 's') })
    const { it: at, gone } = walk([Response.json(paying(null)), Response.json({ reason: 'deposit_done' }, { status: 409 }), Response.json(done)])
    await at.follow(invitation)
    await at.pay()
    expect([gone, stepNow(at.state)?.step, at.state.problem]).toEqual([[], 'grant', null])
  })

  it('is asked after at the provider when a guest comes back who has paid, a bounded number of times', async () => {
    const { it: at, asked } = walk(Array.from({ length: 90 }, (_, n) => Response.json(n === 0 || n % 2 === 0 ? paying('needs_guest') : {})))
    await at.follow(invitation, 'done')
    for (let turn = 0; turn < 40; turn += 1) await at.look()
    expect(asked.filter(([path]) => path.endsWith('/payment/look')).length).toBe(24)
    expect(at.state.came).toBe('done')
  })

  it('is asked after only in our own cloud when he left, or on another device', async () => {
    const { it: at, asked } = walk(Array.from({ length: 9 }, () => Response.json(paying('needs_guest'))))
    await at.follow(invitation, 'left')
    for (let turn = 0; turn < 4; turn += 1) await at.look()
    expect(asked.map(([path]) => path).filter((path) => path.includes('payment'))).toEqual([])
  })
})

describe('the terms', () => {
  it('are accepted by the digest of what was shown, and its language', async () => {
    const shown = { version: '1', language: 'de', languages: ['de'], text: 'Ruhe.', sha256: 'a'.repeat(64) }
    const { it: at, asked } = walk([Response.json(body()), Response.json(shown), Response.json({ ...shown, sha256: 7 }), Response.json(body())])
    await at.follow(invitation)
    const terms = await at.terms('de')
    expect(await at.terms('de')).toMatchObject({ kind: 'line', trouble: 'strange' })
    if (terms === null || 'kind' in terms) throw new Error('no terms')
    await at.accept(terms)
    expect(asked[3]?.[1].body).toBe(JSON.stringify({ version: '1', language: 'de', sha256: 'a'.repeat(64) }))
  })
})

describe('the way', () => {
  it('asks only for the phone where only the keys are missing, and remembers nothing then', async () => {
    const { it: at, asked, kept } = walk([Response.json(body({ steps: [step('room', 's', 'done'), step('grant', 's')], next: step('grant', 's') }))])
    expect([await at.follow(invitation), kept.text, at.state.session]).toEqual(['keys', null, null])
    expect(asked[0]).toMatchObject(['/api/v1/properties/aurora/stays/s/session', { method: 'POST', credentials: 'omit', headers: { Authorization: `Bearer ${'t'.repeat(32)}` }, body: '{"channel":"web","language":"de"}' }])
  })

  it('is remembered while the tab lives, and only as what it was', async () => {
    const { it: at, kept } = walk([Response.json(body())])
    expect([await at.follow(invitation), at.remembered()]).toEqual(['walk', invitation])
    kept.text = '{"property":1}'
    expect(at.remembered()).toBeNull()
    kept.text = '{'
    expect(at.remembered()).toBeNull()
    at.leave()
    expect([kept.text, at.state.session]).toEqual([null, null])
  })

  it('begins anew what had ended meanwhile, and says so; what was typed was not taken', async () => {
    const { it: at } = walk([Response.json(body()), Response.json({ reason: 'no_session' }, { status: 409 }), Response.json(body({ id: 'ci-2' }))])
    await at.follow(invitation)
    expect([await at.accept(paper), at.state.session?.id, at.state.isAnew]).toEqual([false, 'ci-2', true])
  })

  it('stays where it is when the line breaks, and a look that fails is no news', async () => {
    const { it: at } = walk([Response.json(body()), new TypeError('Failed to fetch'), new TypeError('Failed to fetch')])
    await at.follow(invitation)
    expect([await at.accept(paper), at.state.problem]).toEqual([false, { kind: 'line', trouble: 'offline', fromMs: null }])
    await at.look()
    expect([stepNow(at.state)?.step, at.state.isBusy]).toEqual(['terms', false])
  })

  it('lets a guest correct what he said, and never what is under review', () => {
    const said = { step: 'identity', subject: 'g1', state: 'needs_staff' } as const
    expect([canRedo({ ...said, reason: 'name_similar' }), canRedo({ ...said, reason: 'review' }), canRedo({ ...said, step: 'payment', reason: null })]).toEqual([true, false, false])
  })
})

describe('what a guest types and chooses', () => {
  it('is a zone however it is typed', () => {
    expect(zoneOf('p<aut berger <<anna\r\n\n l898902c3 ‹2aut ')).toBe('P<AUTBERGER<<ANNA\nL898902C3<2AUT')
  })

  it('is a country with a name, in every language', () => {
    expect([COUNTRIES.size, new Set(COUNTRIES.values()).size]).toEqual([249, 249])
    for (const { tag } of LANGUAGES) expect(countriesIn(tag).filter(({ name }) => /^[A-Z]{2,3}$/u.test(name))).toEqual([])
  })

  it('is spoken of in each of the page\'s languages', () => {
    expect(new Set(LANGUAGES.map(({ tag }) => sessionWords(tag).title)).size).toBe(LANGUAGES.length)
  })
})
