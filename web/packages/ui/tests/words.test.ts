import source from '../../../../protocols/errors.py?raw'
import { describe, expect, it } from 'vitest'
import type { Alert, Link, Room } from '@innkeeper/api'
import { attentionTo, countLooks, type Look, looksAt, needsOf } from '../src/attention'
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
    id: '101', floor: 1, kind: 'guest_room', type: null, mode: null, light: null, occupancy: null, stay: null, conflicts: [],
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

describe('what a hotel needs a look at', () => {
  const NOON = Date.parse('2026-11-21T12:00:00Z')
  const fact = { at: '2026-11-21T12:00:00Z', quality: 'good' } as const
  const room = (id: string, change: Partial<Room> = {}): Room => ({
    id, floor: 1, kind: 'guest_room', type: null, mode: null, lock: null, light: null, occupancy: null, stay: null, contact: null, conflicts: [],
    climate: { temperature: 21, setpoint: 21, unit: '°C', ...fact }, ...change,
  })
  const link = (state: Link['state'], gaps = 0): Link => ({
    state, edge: 'e', incarnation: null, last_heard_at: '2026-11-21T11:48:00Z', last_ack_at: null, backlog: null,
    lanes: [{ lane: 'A', hi: 9, records: 9 - gaps, gaps }, { lane: 'C', hi: 9, records: 9, gaps: 0 }],
  })
  const alert = (id: string, kind: string, where: string | null): Alert => ({
    id, kind, state: 'raised', room: where, device: null, raised_at: '2026-11-21T11:00:00Z', ended_at: null, detail: 'seen', received_at: '2026-11-21T11:00:01Z',
  })
  const hotel = (rooms: Room[], line: Link, alerts: Alert[] = []) => ({
    link: line, alerts, rooms: new Map(rooms.map((each) => [each.id, each])), order: rooms.map((each) => each.id),
  })
  const words = (found: readonly Look[]): string[] => found.map((look) => look.what)

  it('is nothing where all is well', () => {
    expect(looksAt(hotel([room('101')], link('online')), NOON, 'live')).toEqual([])
  })

  it('is the line, the gaps and every room that shows old values while a hotel is off line', () => {
    const found = looksAt(hotel([room('101'), room('102'), room('store', { climate: null })], link('offline', 3)), NOON, 'link')
    expect(words(found)).toEqual(['The hotel is off line', '2 rooms are not current', '3 gaps in doors and stays'])
    expect(found[0]?.detail).toBe('nothing heard for 12 min')
    expect(countLooks(found)).toBe(4)
    expect([...needsOf(found)]).toEqual([])
  })

  it('is a stay on which PMS and house do not agree, once, with what to do, and it marks both rooms', () => {
    const conflict = { stay: 's-1', kind: 'other_room', guest_name: 'Noor', room: '101', room_asked: '102', expected_until: '2026-01-04T10:00:00.000Z', until_asked: '2026-01-04T10:00:00.000Z' } as const
    const found = looksAt(hotel([room('101', { conflicts: [conflict] }), room('102', { conflicts: [conflict] })], link('online')), NOON, 'live')
    expect(found.map(({ id, kind, what, rooms }) => [id, kind, what, rooms])).toEqual([['stay-s-1', 'stay', 'Noor is in Room 101, the PMS says Room 102', ['101', '102']]])
    expect(found[0]?.detail).toContain('make him a key link')
    expect([...needsOf(found).keys()]).toEqual(['101', '102'])
    const twice = looksAt(hotel([room('101', { conflicts: [{ ...conflict, kind: 'double_sale', room: null, room_asked: '101' }, { ...conflict, stay: 's-2', kind: 'ended_in_pms', room_asked: '101', guest_name: '' }] })], link('online')), NOON, 'live')
    expect(words(twice)).toEqual(['Room 101 is sold twice: Noor has no room', 'the guest is in Room 101, and cancelled in the PMS'])
    const ends = (expected_until: string) => looksAt(hotel([room('101', { conflicts: [{ ...conflict, kind: 'other_end', room_asked: '101', expected_until }] })], link('online')), NOON, 'live')
    expect(words(ends('2026-01-05T10:00:00.000Z'))).toEqual(['Noor in Room 101 leaves a night later than the PMS says'])
    expect(words(ends('2026-01-02T18:00:00.000Z'))).toEqual(['Noor in Room 101 leaves 2 nights earlier than the PMS says'])
  })

  it('is old rooms too when the page itself hears nothing, and then the line is not blamed', () => {
    const found = looksAt(hotel([room('101')], link('online')), NOON, 'stream')
    expect(words(found)).toEqual(['1 room is not current'])
    expect(found[0]?.detail).toContain('this page')
  })

  it('counts a room once however much is wrong with it, and the house beside it', () => {
    const low: Room = room('101', { lock: { door: 'd', state: 'locked', state_at: null, battery_percent: 9, last_event: null } })
    const found = looksAt(hotel([low, room('102')], link('online'), [alert('2', 'leak', '101'), alert('1', 'fire', null)]), NOON, 'live')
    expect(words(found)).toEqual(['Fire mode is on', 'Water leak', 'Lock battery at 9 %'])
    expect(countLooks(found)).toBe(2)
    expect(needsOf(found).get('101')).toBe('Water leak; Lock battery at 9 %')
  })

  it('does not say twice what the building has said', () => {
    const open: Room = room('101', { contact: { open: true, at: '2026-11-21T11:00:00Z', quality: 'good' } })
    expect(words(looksAt(hotel([open], link('online'), [alert('1', 'door_propped', '101')]), NOON, 'live'))).toEqual(['Door propped open'])
    expect(words(looksAt(hotel([open], link('online'), [alert('1', 'door_propped', '102')]), NOON, 'live'))).toEqual(['Door propped open', 'Door has stood open'])
  })

  it('says an alert that it has no words for as it came', () => {
    expect(words(looksAt(hotel([], link('online'), [alert('1', 'lift_stuck', null)]), NOON, 'live'))).toEqual(['Lift stuck'])
  })
})
