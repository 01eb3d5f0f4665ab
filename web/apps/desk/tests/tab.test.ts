import { describe, expect, it } from 'vitest'
import { phoneLink } from '../../guest/src/kiosk/line'
import { codeLink } from '../src/codeLink'
import { IDLE_MS } from '../src/desk'
import { passing } from '../src/passing'
import { ABOUT, ANNA, Stage, STAYS, T0, TOKEN } from './stage'

const NOBODY = { by: null, trouble: 'idle', stays: null, about: null }

describe('a tab that nobody touches', () => {
  it('ends by the first that wakes, be it a touch, a look or a timer: it brings nobody back', async () => {
    for (const wake of ['touch', 'look', 'isOver'] as const) {
      const stage = new Stage()
      const desk = await stage.signedIn()
      stage.pass(IDLE_MS - 1)
      expect(desk.isOver()).toBe(false)
      stage.asked.length = 0
      stage.pass(1) // asleep: no timer has run
      await desk[wake]()
      expect(desk.state, wake).toMatchObject(NOBODY)
      expect([stage.kept, stage.asked], wake).toEqual([null, []])
    }
  })

  it('goes on for whoever touches it', async () => {
    const stage = new Stage()
    const desk = await stage.signedIn()
    for (let touches = 0; touches < 5; touches++) {
      stage.pass(IDLE_MS - 1)
      desk.touch()
    }
    expect(desk.state.by).toBe('Frau Maier')
  })

  it('is over too where the tab was put away and comes back: discarded, opened anew, or with another wall', async () => {
    for (const awayMs of [IDLE_MS, 86_400_000, -IDLE_MS]) {
      const stage = new Stage()
      await stage.signedIn()
      stage.wallMs += awayMs
      stage.nowMs = 0
      const again = stage.desk()
      expect(again.state, `${awayMs}`).toMatchObject(NOBODY)
      expect(stage.kept).toBeNull()
      await again.look()
      expect(again.state.stays).toBeNull()
    }
  })

  it('counts on from the last touch over a reload', async () => {
    const stage = new Stage()
    const desk = await stage.signedIn()
    stage.pass(IDLE_MS / 2)
    desk.touch()
    stage.pass(IDLE_MS - 60_000)
    stage.nowMs = 7
    const again = stage.desk()
    expect(again.state.by).toBe('Frau Maier')
    stage.pass(59_999)
    expect(again.isOver()).toBe(false)
    stage.pass(1)
    expect(again.isOver()).toBe(true)
    stage.kept = JSON.stringify({ token: TOKEN, by: 'Frau Maier' }) // of when, nobody knows
    expect(stage.desk().state.by).toBeNull()
  })
})

describe('time', () => {
  it('passes while the machine sleeps, and neither small nor backward steps of the wall count', () => {
    let [steady, wall] = [0, T0]
    const now = passing(() => steady, () => wall)
    const after = (steadyMs: number, wallMs: number): number => { steady += steadyMs; wall += wallMs; return now() }
    expect([after(5_000, 5_000), after(5_000, 5_400), after(0, 3_600_000), after(1_000, -7_200_000), after(1_000, 1_000)]).toEqual([5_000, 10_000, 3_610_000, 3_611_000, 3_612_000])
  })

  it('that an answer took is of its age: nothing is called younger, and no code good for longer', async () => {
    const stage = new Stage()
    const desk = await stage.signedIn()
    let answer: (said: Response) => void = () => undefined
    stage.answers.set('stays', () => new Promise<Response>((resolve) => { answer = resolve }))
    const looking = desk.look()
    await Promise.resolve()
    stage.pass(15_000)
    answer(Response.json(STAYS))
    await looking
    expect([desk.ageMs(), desk.houseMs()]).toEqual([15_000, T0 + 15_000])
    stage.answers.set('desk', () => { stage.pass(3_000); return Response.json(ABOUT) })
    stage.answers.set('stays', () => new TypeError('no answer'))
    desk.signOut()
    await desk.signIn(TOKEN, 'Frau Maier')
    expect(desk.ageMs()).toBeGreaterThanOrEqual(3_000)
  })
})

describe('what is shown', () => {
  it('is the very list it was while nothing of it changes, so that thousands are not drawn anew', async () => {
    const stage = new Stage()
    const desk = await stage.signedIn()
    const { stays: before } = desk.state
    await desk.look()
    expect(desk.state.stays).not.toBe(before)
    expect(desk.state.stays?.stays).toBe(before?.stays)
    stage.says('stays', { ...STAYS, stays: [{ ...ANNA, room: '102' }] })
    await desk.look()
    expect(desk.state.stays?.stays[0]?.room).toBe('102')
  })

  it('has a name to be seen, or none', async () => {
    const stage = new Stage()
    stage.says('stays', { ...STAYS, stays: ['', ' \n', '\u00a0\u200e\u202e', ' 李 '].map((name, index) => ({ ...ANNA, id: `s-${index}`, guest_name: name, reservation: name })) })
    const desk = await stage.signedIn()
    expect(desk.state.stays?.stays.map(({ guest }) => guest)).toEqual([null, null, null, ' 李 '])
  })

  it('names who is at the desk as records take it', async () => {
    for (const [written, name] of [['Frau\u00a0Maier\u200e', 'Frau Maier'], ['\u202eAnna\t Bell', 'Anna Bell'], ['\u200b', null], ['pms\u200b', null]] as const) {
      const stage = new Stage()
      const desk = stage.desk()
      await desk.signIn(TOKEN, written)
      expect([desk.state.by, desk.state.trouble], JSON.stringify(written)).toEqual([name, name === null ? 'name' : null])
    }
  })
})

describe('the code', () => {
  it('is the very link that a kiosk makes of the same answer', async () => {
    const cloud = new URL('https://cloud.invalid')
    for (const root of ['https://edge.hotel.invalid:8443/', 'https://edge.hotel.invalid/', 'http://127.0.0.1:8470/', 'http://[::1]:8470/', 'https://10.0.0.7/']) {
      for (const [stay, token] of [['s-anna', 'T-_'.repeat(14)], [`7${'-'.repeat(39)}`, '~.0123456789abcdef']] as const) {
        const told = { stay, token, until_ms: T0 }
        const kiosk = await phoneLink({ property: 'aurora', stay: 'v1', token: 'k'.repeat(20) }, new URL(root), cloud, async () => Response.json(told, { status: 201 }))
        expect(codeLink(cloud, new URL('desk/', root), { property: 'aurora', stay, token })).toBe(kiosk)
      }
    }
  })
})
