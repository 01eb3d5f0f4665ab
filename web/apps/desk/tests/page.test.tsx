// @vitest-environment happy-dom
import { act } from 'react'
import { createRoot, type Root } from 'react-dom/client'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { App } from '../src/App'
import type { Desk } from '../src/desk'
import { browserMemory } from '../src/storage'
import { ar } from '../src/words/ar'
import { en } from '../src/words/en'
import { ABOUT, ANNA, ROOT, Stage, STAYS, T0 } from './stage'

const PHONE = { phone: `02${'ab'.repeat(32)}`, key: '3f2a99', main: true, since_ms: T0, not_after_ms: T0 + 5, withdrawn: false, ended: false, used: null, waiting: [] }
const BEN = { ...ANNA, id: 's-ben', room: '102', guest_name: 'Ben Adler' }
let root: Root
let place: HTMLElement

beforeEach(() => {
  ;(globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }).IS_REACT_ACT_ENVIRONMENT = true
  localStorage.setItem('innkeeper-language', 'en')
  place = document.body.appendChild(document.createElement('div'))
  root = createRoot(place)
})
afterEach(() => {
  vi.restoreAllMocks()
  vi.unstubAllEnvs()
  act(() => root.unmount())
  place.remove()
  localStorage.clear()
})

async function shown(stage: Stage): Promise<Desk> {
  const desk = await stage.signedIn()
  await act(async () => root.render(<App desk={desk} house={ROOT} />))
  return desk
}

const one = <T extends HTMLElement = HTMLElement>(what: string): T => {
  const found = place.querySelector<T>(what)
  if (found === null) throw new Error(`nothing is ${what} in ${place.innerHTML}`)
  return found
}

async function press(words: string, within = 'body'): Promise<void> {
  const button = [...document.querySelectorAll<HTMLElement>(`${within} button`)].find((each) => each.textContent?.trim() === words || each.getAttribute('aria-label') === words)
  if (button === undefined) throw new Error(`no button says ${words} in ${place.textContent}`)
  await act(async () => button.click())
}

const choose = (stay: string): Promise<void> => act(async () => one(`[data-stay="${stay}"]`).click())

/** An answer that comes when it is told to. */
function held(stage: Stage, path: string): (answer: Response | Error) => Promise<void> {
  let answered: (answer: Response | Error) => void = () => undefined
  stage.answers.set(path, () => new Promise((resolve) => { answered = resolve }))
  return (answer) => act(async () => answered(answer))
}

function withBen(): Stage {
  const stage = new Stage()
  stage.says('stays', { ...STAYS, stays: [ANNA, BEN] })
  stage.says('stays/s-anna/keys', { keys: [PHONE], others: [] })
  stage.says('stays/s-ben/keys', { keys: [], others: [] })
  return stage
}

describe('an answer that comes after its part of the page was left', () => {
  const refusal = { type: 'urn:innkeeper:problem:check-in-refused', detail: 'Room 101 was promised to stay s-ben.', reason: 'room_taken', may_have_taken_effect: false }
  const asks: Record<string, { path: string; ask: () => Promise<void>; done: object; says: string[] }> = {
    out: { path: 'check-out', ask: async () => { await press(en.out.go); await press(en.out.yes) }, done: { doors_told: false }, says: [en.out.title, en.out.done, en.out.doorsLater] },
    end: { path: 'end', ask: async () => { await press(en.end.longer); await press(en.end.save) }, done: {}, says: [en.end.title, '01:00', en.end.keys] },
    key: {
      path: 'withdrawn-keys', done: {}, says: [en.keys.yes, en.keys.done],
      ask: async () => {
        await press(en.keys.takeOf('3f2a'))
        one<HTMLInputElement>('[data-phone] input').value = 'lost'
        await press(en.keys.yes)
      },
    },
    code: { path: 'phone-code', ask: () => press(en.code.make), done: { property: 'aurora', stay: 's-anna', token: 't'.repeat(43), until_ms: T0 + 1_800_000 }, says: [en.code.title, en.code.unseen] },
  }
  const leaves: Record<string, () => Promise<void>> = { 'the list': () => press(en.stay.back), 'another stay': () => choose('s-ben') }

  it.each(Object.keys(asks).flatMap((deed) => Object.keys(leaves).map((left) => [deed, left])))('is told whatever it says, and until it was read: %s, left for %s', async (deed, left) => {
    const { path, ask, done, says } = asks[deed]!
    const answers: [Response | Error, string, string[]][] = [
      [Response.json(done), 'done', says], [Response.json(refusal, { status: 409 }), 'refused', [en.refused.room_taken, refusal.detail]], [new TypeError('no answer'), 'unknown', [en.unknown]],
    ]
    const stage = withBen()
    await shown(stage)
    for (const [answer, came, sentences] of answers) {
      const answered = held(stage, `stays/s-anna/${path}`)
      await choose('s-anna')
      await ask()
      await leaves[left]!()
      expect(place.querySelector('[data-news]')).toBeNull()
      await answered(answer)
      const news = one(`[data-news="${deed}"]`)
      expect([news.dataset['came'], news.closest('[aria-live="polite"]')?.getAttribute('aria-label')]).toEqual([came, en.news.title])
      for (const sentence of ['101', 'Anna Berger', ...sentences]) expect(news.textContent).toContain(sentence)
      await press(en.news.closeOf('Anna Berger'))
      expect(place.querySelector('[data-news]')).toBeNull()
    }
  })

  it('stands above those that came before it', async () => {
    const stage = withBen()
    await shown(stage)
    await choose('s-anna')
    const [end, out] = [held(stage, 'stays/s-anna/end'), held(stage, 'stays/s-anna/check-out')]
    for (const words of [en.end.longer, en.end.save, en.out.go, en.out.yes, en.stay.back]) await press(words)
    await end(Response.json({}))
    await out(Response.json({ doors_told: true }))
    expect([...place.querySelectorAll<HTMLElement>('[data-news]')].map((each) => each.dataset['news'])).toEqual(['out', 'end'])
  })

  it('is told in its place alone where somebody still looks at it, and to nobody who came after', async () => {
    const stage = withBen()
    const desk = await shown(stage)
    let answered = held(stage, 'stays/s-anna/check-out')
    await choose('s-anna')
    await press(en.out.go)
    await press(en.out.yes)
    await answered(Response.json({ doors_told: true }))
    expect([one('[aria-labelledby="out"]').textContent?.includes(en.out.done), place.querySelector('[data-news]')]).toEqual([true, null])
    answered = held(stage, 'stays/s-ben/check-out')
    await choose('s-ben')
    await press(en.out.go)
    await press(en.out.yes)
    await act(async () => desk.signOut())
    await act(async () => desk.signIn('h'.repeat(64), 'Herr Kern'))
    await answered(Response.json({ doors_told: true }))
    expect([one('[data-testid="by"]').textContent, place.querySelector('[data-news]')]).toEqual(['Herr Kern', null])
  })

  it('is told in its place also where the list says by then that the guest has left, or says nothing new', async () => {
    const stage = withBen()
    const desk = await shown(stage)
    await choose('s-anna')
    const end = held(stage, 'stays/s-anna/end')
    await press(en.end.longer)
    await press(en.end.save)
    for (const what of ['desk', 'link', 'stays']) stage.answers.set(what, () => new TypeError('no answer'))
    await end(Response.json({}))
    expect(one('[data-testid="end-done"]').textContent).toContain(en.end.keys)
    for (const [what, said] of [['desk', ABOUT], ['stays', { ...STAYS, stays: [{ ...ANNA, state: 'left' }] }]] as const) stage.says(what, said)
    const out = held(stage, 'stays/s-anna/check-out')
    await press(en.out.go)
    await press(en.out.yes)
    await act(async () => desk.look())
    expect(one('[data-testid="state"]').textContent).toBe(en.stay.left)
    await out(new TypeError('no answer'))
    expect(one('[aria-labelledby="out"] [data-problem="unknown"]').textContent).toContain(en.unknown)
  })
})

describe('times of a house whose zone is not known', () => {
  it.each([null, 'Mars/Olympus'])('are UTC, and called so wherever one stands: %s', async (zone) => {
    vi.stubEnv('TZ', 'Asia/Tokyo')
    expect(new Intl.DateTimeFormat().resolvedOptions().timeZone, 'another wall than UTC’s').toBe('Asia/Tokyo')
    const stage = withBen()
    stage.says('desk', { ...ABOUT, zone })
    await shown(stage)
    expect(one('[data-testid="utc"]').textContent).toBe(en.list.utc)
    expect(one('[data-stay="s-anna"]').textContent).toContain('00:00 UTC')
    await choose('s-anna')
    expect([one('[data-testid="until"]').textContent, one('label[for="end-time"]').textContent]).toEqual([expect.stringContaining('00:00 UTC'), `${en.end.time} (UTC)`])
    expect([one<HTMLInputElement>('#end-date').value, one<HTMLInputElement>('#end-time').value]).toEqual(['2026-01-02', '00:00'])
    expect(one('[aria-labelledby="end"]').textContent).toContain(en.end.leadUtc)
    await press(en.end.longer)
    expect(one('[data-testid="end-says"]').textContent).toMatch(/Then until .*3.* 00:00 UTC/u)
  })

  it('are the house’s own, with nothing beside them, where it is', async () => {
    await shown(withBen())
    await choose('s-anna')
    expect([place.querySelector('[data-testid="utc"]'), one('[data-testid="until"]').textContent]).toEqual([null, expect.stringContaining('01:00')])
    expect(place.textContent).not.toContain('UTC')
  })
})

describe('a browser that keeps nothing', () => {
  const denied = (): Storage => { throw new DOMException('denied', 'SecurityError') }
  const full = (): Storage => ({
    length: 0, key: () => null, clear: () => undefined, getItem: (item) => localStorage.getItem(item), removeItem: (item) => localStorage.removeItem(item),
    setItem: () => { throw new DOMException('full', 'QuotaExceededError') },
  })
  const none = (): Storage => null as unknown as Storage

  it.each([['denied', denied], ['none', none]] as const)('remembers nothing, and breaks nothing: %s', (_, storage) => {
    const memory = browserMemory(storage, 'x')
    memory.set('y')
    memory.clear()
    expect(memory.get()).toBeNull()
  })

  it('keeps nothing older where there is no room for what is newer', () => {
    localStorage.setItem('x', 'older')
    browserMemory(full, 'x').set('newer')
    expect(localStorage.getItem('x')).toBeNull()
  })

  it('shows the page all the same, in the language that is asked for', async () => {
    const storage = vi.spyOn(globalThis, 'localStorage', 'get').mockImplementation(denied)
    await shown(withBen())
    const languages = one<HTMLSelectElement>('select')
    await act(async () => {
      languages.value = 'ar'
      languages.dispatchEvent(new Event('change', { bubbles: true }))
    })
    expect([document.documentElement.dir, one('h1').textContent]).toEqual(['rtl', ar.title])
    expect(storage).toHaveBeenCalled()
  })
})

describe('doors that take longer than from one look to the next', () => {
  it('are heard all the same, and an older answer says nothing after a newer one', async () => {
    const stage = withBen()
    const answers: ((answer: Response) => void)[] = []
    stage.answers.set('stays/s-anna/keys', () => new Promise<Response>((resolve) => { answers.push(resolve) }))
    const desk = await shown(stage)
    await choose('s-anna')
    const keys = (count: number): Response => Response.json({ keys: Array.from({ length: count }, (_, index) => ({ ...PHONE, phone: `${PHONE.phone}${index}`, key: `${index}aaaa` })), others: [] })
    for (let looks = 0; looks < 2; looks++) await act(async () => desk.look())
    expect([answers.length >= 3, place.querySelector('[data-keys]')]).toEqual([true, null])
    await act(async () => answers[0]!(keys(1)))
    expect(one('[data-keys]').dataset['keys']).toBe('1')
    await act(async () => answers[2]!(keys(2)))
    await act(async () => answers[1]!(keys(3)))
    expect(one('[data-keys]').dataset['keys']).toBe('2')
  })
})

describe('a code', () => {
  it('is shown until a phone has come with it, and the next one in its place', async () => {
    const stage = withBen()
    const made = { property: 'aurora', stay: 's-anna', token: 't'.repeat(43), until_ms: T0 + 1_800_000 }
    let waits: object = { waits: true }
    stage.answers.set('stays/s-anna/phone-code', () => (stage.asked.at(-1)?.method === 'POST' ? Response.json(made) : Response.json(waits)))
    const desk = await shown(stage)
    const shows = (): (string | undefined)[] => [one('[data-code]').dataset['code'], place.querySelector<SVGElement>('[data-link]')?.dataset['link']?.slice(-3)]
    await choose('s-anna')
    await press(en.code.make)
    for (const unsaid of [{ waits: true }, {}, { waits: 'no' }, { waits: true, until_ms: made.until_ms }, { waits: true, until_ms: null }]) {
      waits = unsaid
      await act(async () => desk.look())
      expect(shows(), JSON.stringify(unsaid)).toEqual(['shown', 'ttt'])
    }
    waits = { waits: false }
    await act(async () => desk.look())
    expect([...shows(), one('[data-code]').textContent?.includes(en.code.used)]).toEqual(['used', undefined, true])
    waits = { waits: true }
    await press(en.code.anew)
    expect(shows()).toEqual(['shown', 'ttt'])
    waits = { waits: true, until_ms: made.until_ms + 1 } // another desk made one for the same stay
    await act(async () => desk.look())
    expect([...shows(), one('[data-code]').textContent?.includes(en.code.used)]).toEqual(['used', undefined, true])
  })
})
