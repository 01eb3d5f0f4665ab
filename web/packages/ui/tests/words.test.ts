import source from '../../../../protocols/errors.py?raw'
import { describe, expect, it } from 'vitest'
import type { Room } from '@innkeeper/api'
import { attentionTo } from '../src/attention'
import { formatAge } from '../src/time'
import { saidEvent, saidReason, saidFloor, saidRoom } from '../src/words'

describe('words', () => {
  it('says every refusal as protocols/errors.py does', () => {
    const values = new Map([...source.matchAll(/^ {4}([A-Z_]+) = "([a-z_]+)"$/gm)].map(([, name, value]) => [name, value]))
    const spoken = [...source.matchAll(/RefusalReason\.([A-Z_]+): "(.+)",/g)]
    expect(spoken.length).toBeGreaterThan(10)
    for (const [, name, sentence] of spoken) expect(saidReason(values.get(name) ?? '?')).toBe(sentence)
  })

  it('shows what it has no words for as it came, readably', () => {
    expect(saidReason('moon_phase')).toBe('Moon phase.')
    expect(saidEvent('forced_open')).toBe('Forced open')
    expect(saidRoom('101')).toBe('Room 101')
    expect(saidRoom('pool-bar')).toBe('Pool bar')
    expect([-2, 0, 3].map(saidFloor)).toEqual(['Basement 2', 'Ground floor', 'Floor 3'])
  })

  it.each([
    [0, '0 s'], [59_999, '59 s'], [60_000, '1 min'], [3_599_999, '59 min'], [3_600_000, '1 h 00'], [86_399_999, '23 h 59'], [172_800_000, '2 d'],
  ])('says an age of %d ms as %s', (ms, said) => {
    expect(formatAge(ms)).toBe(said)
  })
})

describe('attention', () => {
  const NOON = Date.parse('2026-11-21T12:00:00Z')
  const ROOM: Room = {
    id: '101', floor: 1, kind: 'guest_room', type: null, mode: null, light: null, occupancy: null, stay: null,
    lock: { door: 'door-101', state: 'locked', state_at: null, battery_percent: 80, last_event: null },
    climate: { temperature: 21, setpoint: 21, unit: '°C', at: '2026-11-21T12:00:00Z', quality: 'good' },
    contact: { open: false, at: '2026-11-21T11:00:00Z', quality: 'good' },
  }

  it('asks for none where all is well', () => {
    expect(attentionTo(ROOM, NOON)).toEqual([])
  })

  it.each<[string, Partial<Room>]>([
    ['battery', { lock: { door: 'd', state: 'locked', state_at: null, battery_percent: 20, last_event: null } }],
    ['Door contact not current', { contact: { open: true, at: '2026-11-21T11:00:00Z', quality: 'stale' } }],
    ['stood open', { contact: { open: true, at: '2026-11-21T11:50:00Z', quality: 'good' } }],
    ['Climate', { climate: { temperature: null, setpoint: null, unit: '°C', at: null, quality: 'stale' } }],
  ])('asks for %s', (word, change) => {
    expect(attentionTo({ ...ROOM, ...change }, NOON).join()).toContain(word)
  })

  it('asks for none because a lock tells only events, nor for what a cut line made old', () => {
    expect(attentionTo({ ...ROOM, lock: { door: 'd', state: 'unknown', state_at: null, battery_percent: null, last_event: null } }, NOON)).toEqual([])
    const old: Room = { ...ROOM, climate: { temperature: 21, setpoint: 21, unit: '°C', at: '2026-11-21T12:00:00Z', quality: 'stale' } }
    expect(attentionTo(old, NOON, 'link')).toEqual([])
  })

  it('asks for an open door only after a while', () => {
    expect(attentionTo({ ...ROOM, contact: { open: true, at: '2026-11-21T11:50:01Z', quality: 'good' } }, NOON)).toEqual([])
  })
})
