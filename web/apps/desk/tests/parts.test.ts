import { qrOf } from '@innkeeper/ui/qr'
import { describe, expect, it } from 'vitest'
import { houseLinkOf } from '../../guest/src/house/link'
import { codeLink, leftOf, reachOf } from '../src/codeLink'
import type { Stay } from '../src/house'
import { found } from '../src/search'
import { LANGUAGES, localeOf, refusalOf, saidAge, saidTime, spoken } from '../src/words'
import { en } from '../src/words/en'
import { daysOn, momentOf, wallOf } from '../src/zone'

const HOUR_MS = 3_600_000
const VIENNA = 'Europe/Vienna'

describe('the code', () => {
  const code = { property: 'aurora', stay: 's-anna.1', token: 'T-_'.repeat(14) }

  it('is a link that the guest’s page reads, all of it behind the #, and a picture holds it', () => {
    const link = new URL(codeLink(new URL('https://cloud.invalid'), new URL('https://edge.hotel.invalid:8443/desk/'), code))
    expect([link.origin, link.pathname, link.search]).toEqual(['https://cloud.invalid', '/guest/house.html', ''])
    const read = houseLinkOf(link.hash)
    expect([read?.root.origin, read?.invitation]).toEqual(['https://edge.hotel.invalid:8443', code])
    expect(qrOf(link.href).length).toBeGreaterThan(20)
  })

  it('says whether phones come to the house by the address of this page, as the guest’s page judges it', () => {
    const here = { 'https://edge.hotel.invalid/': 'fine', 'http://edge.hotel.invalid/': 'unsafe', 'http://127.0.0.1:8470/': 'near', 'http://[::1]:8470/': 'near', 'https://localhost/': 'near' }
    for (const [root, reach] of Object.entries(here)) {
      expect(reachOf(new URL(root))).toBe(reach)
      const isRead = houseLinkOf(new URL(codeLink(new URL('https://cloud.invalid'), new URL(root), code)).hash) !== null
      expect(isRead, root).toBe(reach !== 'unsafe')
    }
  })

  it('is never called over before it is, nor good after', () => {
    expect([leftOf(1_800_000, 0), leftOf(61_000, 0), leftOf(1_000, 1), leftOf(1_000, 999), leftOf(1_000, 1_000), leftOf(1_000, 5_000)]).toEqual(['30:00', '1:01', '0:01', '0:01', null, null])
  })
})

describe('the wall of the house', () => {
  it('is read and written in any zone, over every hour of a year with its changes of the clock', () => {
    for (const zone of [VIENNA, 'America/St_Johns', 'Asia/Kathmandu', 'Australia/Lord_Howe', 'Pacific/Apia', 'UTC']) {
      for (let atMs = Date.UTC(2026, 0, 1); atMs < Date.UTC(2027, 0, 1); atMs += 7 * HOUR_MS + 1_800_000) {
        const wall = wallOf(atMs, zone)
        const again = momentOf(wall, zone)
        expect(again === null ? null : wallOf(again, zone), `${zone} ${atMs}`).toEqual(wall)
        expect(atMs - (again ?? 0), `${zone} ${atMs}`).toBeLessThanOrEqual(HOUR_MS) // an hour that comes twice is its first
      }
    }
  })

  it('has no hour that the clock leaps over, and no day that there is not', () => {
    expect(momentOf({ date: '2026-03-29', time: '02:30' }, VIENNA)).toBeNull()
    expect(momentOf({ date: '2026-10-25', time: '02:30' }, VIENNA)).toBe(Date.UTC(2026, 9, 25, 0, 30))
    for (const [date, time] of [['2026-02-30', '11:00'], ['', '11:00'], ['2026-01-02', ''], ['2026-01-02', '24:00'], ['26-1-2', '11:00'], ['2026-13-01', '11:00']]) expect(momentOf({ date: date ?? '', time: time ?? '' }, VIENNA)).toBeNull()
  })

  it('keeps its hour over a night in which the clock changes', () => {
    const before = { date: '2026-03-28', time: '11:00' }
    expect(daysOn(before, 1)).toEqual({ date: '2026-03-29', time: '11:00' })
    expect((momentOf(daysOn(before, 1), VIENNA) ?? 0) - (momentOf(before, VIENNA) ?? 0)).toBe(23 * HOUR_MS)
    expect([daysOn({ date: '2026-12-31', time: '10:00' }, 1), daysOn({ date: '2026-03-01', time: '10:00' }, -1)]).toEqual([{ date: '2027-01-01', time: '10:00' }, { date: '2026-02-28', time: '10:00' }])
    expect(daysOn({ date: '', time: '' }, 1)).toEqual({ date: '', time: '' })
  })
})

describe('the search', () => {
  const stay = (id: string, changes: Partial<Stay> = {}): Stay => ({ id, room: null, state: 'in_house', guest: null, booking: '', fromMs: 0, untilMs: 1, decidedBy: null, untilBy: null, isAhead: false, ...changes })
  const stays = [
    stay('s-4', { room: '1001', guest: 'Łukasz Żak' }), stay('s-2', { room: '101', guest: 'Zoë Müller' }), stay('s-3', { room: '99', guest: 'ZOE Meier', booking: 'N-77' }),
    stay('s-5', { state: 'planned' }), stay('s-6', { state: 'ready', room: '7' }), stay('s-1', { state: 'left', room: '101' }), stay('s-0', { state: 'void' }),
  ]
  const ids = (text: string): string[] => { const { inHouse, coming, gone } = found(stays, text); return [...inHouse, ...coming, ...gone].map(({ id }) => id) }

  it('finds by every word, accents and case aside, rooms in the order of their numbers', () => {
    expect(ids('')).toEqual(['s-3', 's-2', 's-4', 's-6', 's-5', 's-1', 's-0'])
    expect([ids('zoe'), ids(' zoe  mull'), ids('n-77'), ids('ZAK'), ids('101'), ids('S-6'), ids('zoe n-78')]).toEqual([['s-3', 's-2'], ['s-2'], ['s-3'], ['s-4'], ['s-2', 's-1'], ['s-6'], []])
  })
})

describe('the words', () => {
  it('are all there in every language, and none is another’s', () => {
    const leaves = (said: object): [string, unknown][] => Object.entries(said).flatMap(([name, value]) => (typeof value === 'object' && value !== null ? leaves(value).map(([inner, each]): [string, unknown] => [`${name}.${inner}`, each]) : [[name, value]]))
    const written = (value: unknown): string => (typeof value === 'function' ? String(value('7', '8')) : String(value))
    const english = new Map(leaves(en).map(([name, value]) => [name, written(value)]))
    expect(LANGUAGES.map(({ tag }) => tag)).toEqual(['en', 'de', 'fr', 'es', 'ar'])
    for (const words of LANGUAGES) {
      expect(words.signIn.tokenHint.split('desk-token'), `${words.tag}: where the token is`).toHaveLength(2)
      for (const [name, value] of leaves(words)) {
        expect(written(value).trim(), `${words.tag} ${name}`).not.toBe('')
        if (typeof value === 'function') expect(written(value), `${words.tag} ${name}`).toContain('7')
        if (words.tag !== 'en') expect(written(value), `${words.tag} ${name}`).not.toBe(english.get(name))
      }
    }
  })

  it('say a refusal that nobody knows as one, and times and ages of the house', () => {
    expect([refusalOf('room_taken', en), refusalOf('toString', en), refusalOf('', en)]).toEqual([en.refused.room_taken, en.refused.other, en.refused.other])
    const at = Date.UTC(2026, 0, 2, 10)
    expect(saidTime(at, at, VIENNA, 'en-GB')).toBe('Fri 2 Jan, 11:00')
    expect(saidTime(at, Date.UTC(2025, 11, 31, 22), VIENNA, 'en-GB')).toContain('2026')
    for (const words of LANGUAGES) expect(saidTime(at, at, null, words.tag), words.tag).toMatch(/10:00.*UTC/u)
    expect([0, 59_999, 60_000, 7_199_999, 7_200_000, 172_800_000].map((age) => saidAge(age, 'en'))).toEqual(['0 seconds ago', '59 seconds ago', '1 minute ago', '119 minutes ago', '2 hours ago', '2 days ago'])
    expect(saidAge(5_000, 'ar')).toMatch(/5/u)
    expect([spoken(['xx', 'de-AT']).tag, spoken(['zh']).tag, localeOf(en, ['de', 'en-GB'])]).toEqual(['de', 'en', 'en-GB'])
  })
})
