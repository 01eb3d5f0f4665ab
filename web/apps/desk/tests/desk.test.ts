import { describe, expect, it } from 'vitest'
import type { Outcome } from '../src/desk'
import { ABOUT, ANNA, LINK, Stage, STAYS, T0, TOKEN } from './stage'

const refusal = (reason: string) => ({ type: 'urn:innkeeper:problem:check-in-refused', detail: 'A sentence.', reason, retryable: false, may_have_taken_effect: false })

describe('whoever works at the desk', () => {
  it('is let in by the house alone, and nothing that is no token is sent to it', async () => {
    const stage = new Stage()
    const desk = stage.desk()
    for (const wrong of ['', 'short', 'h'.repeat(600), `${TOKEN}\u00a0x`, 'токен'.repeat(10)]) {
      await desk.signIn(wrong, 'Frau Maier')
      expect(desk.state).toMatchObject({ by: null, trouble: 'wrong' })
    }
    for (const nobody of ['', '  ', 'pms', ' pms ']) {
      await desk.signIn(TOKEN, nobody)
      expect(desk.state.trouble).toBe('name')
    }
    expect(stage.asked).toEqual([])
    stage.says('desk', { type: 'urn:innkeeper:problem:unauthorized' }, 401)
    await desk.signIn(TOKEN, 'Frau Maier')
    expect([desk.state.trouble, stage.kept]).toEqual(['wrong', null])
    stage.answers.set('desk', () => new TypeError('no answer'))
    await desk.signIn(TOKEN, 'Frau Maier')
    expect([desk.state.trouble, stage.kept]).toEqual(['away', null])
    stage.says('desk', ABOUT)
    await desk.signIn(` ${TOKEN}\n`, ' Frau Maier ')
    expect(desk.state).toMatchObject({ by: 'Frau Maier', trouble: null, about: { name: 'Hotel Aurora', zone: 'Europe/Vienna' }, link: { isConnected: false, waiting: 4 } })
    expect(desk.state.stays?.stays.map(({ id }) => id)).toEqual(['s-anna'])
  })

  it('says the token in a header, and nowhere else', async () => {
    const stage = new Stage()
    const desk = await stage.signedIn()
    await desk.code('s-anna')
    await desk.keys('s-anna')
    expect(stage.asked.length).toBeGreaterThan(4)
    for (const { path, headers, body, init } of stage.asked) {
      expect(headers['Authorization']).toBe(`Bearer ${TOKEN}`)
      expect([path, JSON.stringify(body), init.credentials]).toEqual([expect.not.stringContaining(TOKEN), expect.not.stringContaining(TOKEN), 'omit'])
    }
  })

  it('goes on after a reload of the tab, and is forgotten at once when she leaves', async () => {
    const stage = new Stage()
    await stage.signedIn()
    const again = stage.desk()
    expect(again.state.by).toBe('Frau Maier')
    await again.look()
    expect(again.state.stays?.stays).toHaveLength(1)
    again.signOut('idle')
    expect(again.state).toMatchObject({ by: null, trouble: 'idle', stays: null, about: null })
    expect(stage.kept).toBeNull()
    for (const damaged of ['', '{', '[]', 'null', '{"token": 7, "by": "x"}', '{"by": "x"}']) {
      stage.kept = damaged
      expect(stage.desk().state.by).toBeNull()
    }
  })

  it('is signed out when the house takes the token no more, by looking and by asking', async () => {
    for (const first of ['stays', 'stays/s-anna/end']) {
      const stage = new Stage()
      const desk = await stage.signedIn()
      stage.says(first, { type: 'urn:innkeeper:problem:unauthorized' }, 401)
      if (first === 'stays') await desk.look()
      else await desk.endAt('s-anna', T0)
      expect(desk.state).toMatchObject({ by: null, trouble: 'ended', stays: null })
      expect(stage.kept).toBeNull()
    }
  })

  it('sees nothing of an answer that comes after she has left', async () => {
    const stage = new Stage()
    const desk = await stage.signedIn()
    let answer: (said: Response) => void = () => undefined
    stage.answers.set('stays', () => new Promise<Response>((resolve) => { answer = resolve }))
    const looking = desk.look()
    desk.signOut()
    answer(Response.json(STAYS))
    await looking
    expect(desk.state).toMatchObject({ by: null, stays: null, about: null })
  })
})

describe('what the house says', () => {
  it('stays as it was when it answers no more, grows old, and is called old', async () => {
    const stage = new Stage()
    const desk = await stage.signedIn()
    for (const what of ['desk', 'link', 'stays']) stage.answers.set(what, () => new TypeError('no answer'))
    stage.nowMs = 90_000
    await desk.look()
    expect(desk.state).toMatchObject({ isAway: true, by: 'Frau Maier' })
    expect([desk.state.stays?.stays.length, desk.ageMs(), desk.houseMs()]).toEqual([1, 90_000, T0 + 90_000])
    for (const [what, said] of [['desk', { ...ABOUT, as_of_ms: T0 + 95_000 }], ['link', LINK], ['stays', { ...STAYS, stays: [] }]] as const) stage.says(what, said)
    await desk.look()
    expect([desk.state.isAway, desk.state.stays?.stays.length, desk.ageMs(), desk.houseMs()]).toEqual([false, 0, 0, T0 + 95_000])
  })

  it('is read once more where it was asked for while it was being read', async () => {
    const stage = new Stage()
    const desk = await stage.signedIn()
    stage.asked.length = 0
    await Promise.all([desk.look(), desk.look(), desk.look()])
    expect(stage.asked.filter(({ path }) => path === 'stays')).toHaveLength(2)
  })

  it('is left out and counted where it cannot be read', async () => {
    const stage = new Stage()
    stage.says('stays', { ...STAYS, version: 0, stays: [ANNA, 7, { ...ANNA, state: 'asleep' }, { ...ANNA, id: 7 }, { ...ANNA, expected_until_ms: '1' }], held_against_document: [{ stay: 's-anna' }] })
    stage.says('link', { configured: 'yes' })
    stage.says('desk', { ...ABOUT, zone: 'Mars/Olympus', cloud: 'nowhere', codes: 1 })
    const desk = await stage.signedIn()
    expect(desk.state.stays).toMatchObject({ unread: 4, asOfMs: null, stays: [{ id: 's-anna', isAhead: true, booking: 'N-1' }] })
    expect([desk.state.link, desk.state.about?.zone, desk.state.about?.cloud, desk.state.about?.codes]).toEqual([null, null, null, false])
  })
})

describe('an act', () => {
  const acts: [string, (desk: Awaited<ReturnType<Stage['signedIn']>>) => Promise<Outcome<unknown>>, string, object][] = [
    ['a code', (desk) => desk.code('s-anna'), 'stays/s-anna/phone-code', { by: 'Frau Maier' }],
    ['an end', (desk) => desk.endAt('s-anna', T0 + 5), 'stays/s-anna/end', { by: 'Frau Maier', until_ms: T0 + 5 }],
    ['a departure', (desk) => desk.checkOut('s-anna'), 'stays/s-anna/check-out', { by: 'Frau Maier' }],
    ['a lost phone', (desk) => desk.takeBack('s-anna', `02${'ab'.repeat(32)}`, 'lost'), 'stays/s-anna/withdrawn-keys', { by: 'Frau Maier', phone_public_key: `02${'ab'.repeat(32)}`, reason: 'lost' }],
  ]

  it.each(acts)('says who asks for it, and reads the house anew: %s', async (_, act, path, body) => {
    const stage = new Stage()
    stage.says(path, { property: 'aurora', stay: 's-anna', token: 't'.repeat(43), until_ms: T0 + 1_800_000, doors_told: true })
    const desk = await stage.signedIn()
    stage.asked.length = 0
    expect((await act(desk)).kind).toBe('done')
    expect(stage.asked[0]).toMatchObject({ method: 'POST', path, body })
    expect(stage.asked.some((each) => each.path === 'stays')).toBe(true)
  })

  it.each<[string, Response | Error, Outcome<unknown>['kind']]>([
    ['refused by the rules', Response.json(refusal('room_taken'), { status: 409 }), 'refused'],
    ['not written down', Response.json({ type: 'urn:innkeeper:problem:store-failed', may_have_taken_effect: false }, { status: 503 }), 'refused'],
    ['asked of doors that did not answer', Response.json({ type: 'urn:innkeeper:problem:reply-timeout', may_have_taken_effect: true }, { status: 504 }), 'unknown'],
    ['broken off within the house', Response.json({ type: 'about:blank' }, { status: 500 }), 'unknown'],
    ['answered by a proxy', new Response('<html>', { status: 502 }), 'unknown'],
    ['not answered', new TypeError('no answer'), 'unknown'],
    ['not answered in time', new DOMException('late', 'TimeoutError'), 'unknown'],
  ])('that was %s is called no more than that', async (_, answer, kind) => {
    for (const [, act, path] of acts) {
      const stage = new Stage()
      const desk = await stage.signedIn()
      stage.answers.set(path, () => (answer instanceof Response ? answer.clone() : answer))
      expect((await act(desk)).kind).toBe(kind)
    }
  })

  it('tells why it was refused, and tells a code that cannot be read from one', async () => {
    const stage = new Stage()
    const desk = await stage.signedIn()
    stage.says('stays/s-anna/end', refusal('room_taken'), 409)
    expect(await desk.endAt('s-anna', T0)).toEqual({ kind: 'refused', reason: 'room_taken', detail: 'A sentence.' })
    stage.says('stays/s-anna/end', { type: 'urn:innkeeper:problem:invalid-input', detail: 'over' }, 400)
    expect(await desk.endAt('s-anna', T0)).toMatchObject({ reason: 'invalid_input' })
    stage.says('stays/s-anna/phone-code', { stay: 's-anna', token: 7 })
    expect(await desk.code('s-anna')).toEqual({ kind: 'unknown' })
  })

  it('knows the phones that have keys, and says nothing where the doors do not', async () => {
    const stage = new Stage()
    const desk = await stage.signedIn()
    const phone = `02${'ab'.repeat(32)}`
    const key = { phone, key: '3f2a99', main: true, since_ms: T0, not_after_ms: T0 + 5, withdrawn: false, ended: false, used: { at_ms: T0 + 1, certain: false }, waiting: [{}, {}] }
    stage.says('stays/s-anna/keys', { keys: [key, { ...key, used: { at_ms: T0 + 1, certain: true } }, { ...key, phone: 7 }, 7], others: [] })
    expect(await desk.keys('s-anna')).toMatchObject([{ phone, name: '3f2a', isMain: true, usedMs: null, waiting: 2 }, { usedMs: T0 + 1 }])
    stage.says('stays/s-anna/keys', { type: 'urn:innkeeper:problem:no-doors' }, 404)
    expect(await desk.keys('s-anna')).toBeNull()
    stage.answers.set('stays/s-anna/keys', () => new TypeError('no answer'))
    expect(await desk.keys('s-anna')).toBeNull()
  })
})
