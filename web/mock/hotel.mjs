// A seeded hotel that lives: what the cloud would say of it, and what changes minute by minute.

/** mulberry32: small, seeded, good enough to furnish a hotel. */
export function dice(seed) {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
  return {
    next,
    integer: (from, to) => from + Math.floor(next() * (to - from + 1)),
    pick: (list) => list[Math.floor(next() * list.length)],
    chance: (p) => next() < p,
  }
}

const GUESTS = ['Ada Nilsson', 'Marek Dvořák', 'Ines Carvalho', 'Tomás Quintero', 'Hanna Virtanen', 'Yusuf Demir',
  'Claire Fontaine', 'Oskar Lindqvist', 'Mei Tanaka', 'Priya Raman', 'Jonas Weber', 'Elena Petrova', 'Liam O’Connor',
  'Sofia Rossi', 'Amara Okafor', 'Nikos Papadakis', 'Freya Holm', 'Daniel Koch']
const TYPES = ['single', 'double', 'double', 'twin', 'double', 'suite']
const REASONS = ['expired', 'superseded', 'wrong_door', 'privacy_on', 'not_yet_valid']
const SECOND = 1_000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE
const hex = (d, n) => Array.from({ length: n }, () => d.integer(0, 15).toString(16)).join('')

export class Hotel {
  constructor({ id, name, zone, seed, now, floors = 3, perFloor = 8 }) {
    this.dice = dice(seed)
    this.now = now
    Object.assign(this, { id, name, zone, eventCount: 0, silentSince: null, state: 'online' })
    const d = this.dice
    this.edge = `e-${id}${'0'.repeat(Math.max(0, 9 - id.length))}1`
    this.incarnation = hex(d, 32)
    this.records = { A: 12_480, B: 48_310, C: 1_204_776 }
    this.backlog = { a: 0, b: 0, c: 3 }
    this.gaps = { A: 0, B: 0, C: 0 }
    this.alerts = []
    this.alertCount = 0
    this.heardAt = now() - 2 * SECOND
    this.ackAt = now() - 3 * SECOND
    this.rooms = new Map()
    this.events = []
    for (let floor = 1; floor <= floors; floor++) {
      for (let n = 1; n <= perFloor; n++) this.#furnish(String(floor * 100 + n), floor, d.pick(TYPES))
    }
    this.rooms.set('lobby', this.#common('lobby', 0, 'common', 'lobby'))
    this.rooms.set('plant', this.#common('plant', 0, 'plant', 'plant_room'))
    const stays = [...this.rooms.values()].filter((room) => room.kind === 'guest_room')
    for (let i = 0; i < 140; i++) {
      this.#event(d.pick(stays), now() - i * d.integer(4, 9) * MINUTE - d.integer(0, 50) * SECOND, d.chance(0.1))
    }
    this.events.sort((a, b) => (a.at < b.at ? 1 : -1))
    for (const event of [...this.events].reverse()) {
      const lock = this.rooms.get(event.room)?.lock
      if (lock) lock.last_event = { event: event.event, at: event.at, reason: event.reason, received_at: event.received_at }
    }
    const odd = this.rooms.get('207')
    if (odd.lock) odd.lock.battery_percent = 14
    const dead = this.rooms.get('304')
    Object.assign(dead.climate, { quality: 'stale', at: this.iso(now() - 3 * HOUR) })
    Object.assign(this.rooms.get('106').contact, { open: true, at: this.iso(now() - 26 * MINUTE) })
    Object.assign(this.rooms.get('305').lock, { state: 'unknown', state_at: null })
  }

  iso(ms) { return new Date(ms).toISOString() }

  #ago(least, most) { return this.iso(this.now() - this.dice.integer(least, most)) }

  #furnish(id, floor, type) {
    const d = this.dice
    const inHouse = d.chance(0.62)
    const occupied = inHouse && d.chance(0.55)
    const setpoint = inHouse ? d.pick([20.5, 21, 21.5, 22]) : 18
    const room = {
      id, floor, kind: 'guest_room', type, mode: inHouse ? (occupied ? 'occupied_comfort' : 'away_set_back') : 'vacant_set_back',
      lock: { door: `door-${id}`, state: 'locked', state_at: this.#ago(MINUTE, 9 * HOUR), battery_percent: d.integer(38, 100), last_event: null },
      light: { on: occupied && d.chance(0.7), at: this.#ago(MINUTE, 3 * HOUR), quality: 'good' },
      climate: { temperature: Math.round((setpoint + (d.next() - 0.5) * 1.6) * 10) / 10, setpoint, unit: '°C', at: this.#ago(2 * SECOND, 50 * SECOND), quality: 'good' },
      occupancy: { occupied, at: this.#ago(20 * SECOND, 2 * HOUR), quality: 'good' },
      contact: { open: false, at: this.#ago(2 * MINUTE, 9 * HOUR), quality: 'good' },
      stay: inHouse ? { id: `s-${hex(d, 6)}`, state: 'in_house', guest_name: d.pick(GUESTS), until: this.#checkout(d.integer(1, 5)) } : null,
      conflicts: [],
    }
    if (!inHouse && d.chance(0.3)) room.mode = 'expected'
    if (room.mode === 'expected') room.stay = { id: `s-${hex(d, 6)}`, state: 'ready', guest_name: d.pick(GUESTS), until: this.#checkout(d.integer(2, 5)) }
    this.rooms.set(id, room)
  }

  #checkout(days) {
    const day = new Date(this.now() + days * 24 * HOUR)
    day.setUTCHours(10, 0, 0, 0)
    return day.toISOString()
  }

  #common(id, floor, kind, type) {
    const plant = kind === 'plant'
    return {
      id, floor, kind, type, mode: null,
      lock: { door: `door-${id}`, state: 'locked', state_at: this.#ago(MINUTE, 9 * HOUR), battery_percent: plant ? null : 91, last_event: null },
      light: plant ? null : { on: true, at: this.#ago(HOUR, 5 * HOUR), quality: 'good' },
      climate: { temperature: plant ? 27.4 : 21.8, setpoint: plant ? null : 21.5, unit: '°C', at: this.#ago(2 * SECOND, 40 * SECOND), quality: 'good' },
      occupancy: plant ? null : { occupied: true, at: this.#ago(10 * SECOND, MINUTE), quality: 'good' },
      contact: null, stay: null, conflicts: [],
    }
  }

  #event(room, at_ms, refused, kind = null, reason = null) {
    const event = {
      id: `${this.incarnation.slice(0, 8)}-A-${String(++this.eventCount).padStart(6, '0')}`,
      door: room.lock.door, room: room.id, at: this.iso(at_ms),
      event: kind ?? (refused ? 'refused' : 'opened'), reason: reason ?? (refused ? this.dice.pick(REASONS) : null),
      stay: room.stay?.id ?? null, grant: hex(this.dice, 16), lock_seq: 4_000 + this.eventCount,
      received_at: this.iso(at_ms + this.dice.integer(200, 900)),
    }
    this.events.push(event)
    return event
  }

  /** A room as the cloud tells it: while the line is quiet, nothing that the edge measured is better than stale. */
  tell(room) {
    if (this.state === 'online') return room
    const stale = (fact) => fact && { ...fact, quality: 'stale' }
    return {
      ...room, light: stale(room.light), climate: stale(room.climate), occupancy: stale(room.occupancy),
      lock: room.lock && { ...room.lock, state: 'unknown', state_at: null },
    }
  }

  told() { return [...this.rooms.values()].map((room) => this.tell(room)) }

  /** Somebody stands at a door. Returns what the cloud would tell: [the event, the rooms that changed]. */
  atDoor(id, kind = 'opened', reason = null, late_ms = 0) {
    const room = this.rooms.get(id)
    if (!room?.lock) return null
    const now = this.now() // asked once: a millisecond between two answers would be told as a minute less
    const event = this.#event(room, now - late_ms, kind === 'refused', kind, reason)
    event.received_at = this.iso(now)
    this.events.unshift(this.events.pop())
    room.lock.last_event = { event: event.event, at: event.at, reason: event.reason, received_at: event.received_at }
    if (kind === 'opened') Object.assign(room.lock, { state: 'unlocked', state_at: event.at })
    this.records.A += 1
    return { event, room }
  }

  /** The building raises an alert. `ahead_ms`: how far its clock is ahead. */
  raise({ kind, room = null, device = null, detail = '', ahead_ms = 0 }) {
    const now = this.now()
    this.alerts = [{
      id: String(++this.alertCount), kind, state: 'raised', room, device, detail,
      raised_at: this.iso(now + ahead_ms), ended_at: null, received_at: this.iso(now),
    }, ...this.alerts]
  }

  clear(kind, room) { this.alerts = this.alerts.filter((alert) => alert.kind !== kind || alert.room !== room) }

  relock(id) {
    const room = this.rooms.get(id)
    if (room?.lock) room.lock.state = 'locked'
    return room
  }

  /** One beat of ordinary life; returns the rooms that changed. */
  live() {
    const d = this.dice
    const changed = new Set()
    const all = [...this.rooms.values()]
    for (let i = 0; i < 3; i++) {
      const room = d.pick(all)
      if (room.climate?.quality === 'good') {
        room.climate.temperature = Math.round((room.climate.temperature + d.pick([-0.1, 0, 0.1])) * 10) / 10
        room.climate.at = this.iso(this.now())
        changed.add(room)
      }
    }
    const room = d.pick(all)
    if (room.light && d.chance(0.3)) { room.light.on = !room.light.on; room.light.at = this.iso(this.now()); changed.add(room) }
    if (room.occupancy && d.chance(0.3)) { room.occupancy.occupied = room.stay?.state === 'in_house' && !room.occupancy.occupied; room.occupancy.at = this.iso(this.now()); changed.add(room) }
    this.records.C += 4
    this.records.B += d.chance(0.4) ? 1 : 0
    return [...changed]
  }

  heard() {
    if (this.state !== 'online') return
    this.heardAt = this.now()
    this.ackAt = this.now() - 120
    this.backlog = { a: 0, b: 0, c: this.dice.integer(0, 4) }
  }

  link() {
    return {
      state: this.state, edge: this.edge, incarnation: this.incarnation,
      last_heard_at: this.heardAt === null ? null : this.iso(this.heardAt),
      last_ack_at: this.ackAt === null ? null : this.iso(this.ackAt),
      backlog: this.backlog,
      lanes: ['A', 'B', 'C'].map((lane) => ({ lane, hi: this.records[lane] + this.gaps[lane], records: this.records[lane], gaps: this.gaps[lane] })),
    }
  }

  property() {
    return { id: this.id, name: this.name, zone: this.zone, rooms: this.rooms.size, link: this.link() }
  }
}
