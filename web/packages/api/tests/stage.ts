/** A hand-turned world for the live store: time, timers, sockets and dice that do what a test says. */
import { type AccessEvent, type Failure, type Link, LiveStore, type Room, type Socket } from '../src'

export const START_MS = Date.parse('2026-11-21T12:00:00.000Z')
export const iso = (ms: number): string => new Date(ms).toISOString()

export class Stage {
  now_ms = START_MS
  /** How far this machine's clock is from the cloud's. */
  skew_ms = 0
  draw = 0.5
  failure: Failure | null = null
  readonly sockets: HandSocket[] = []
  readonly #timers = new Set<{ due_ms: number; action: () => void }>()
  told = 0
  readonly store: LiveStore

  constructor() {
    this.store = new LiveStore({
      connect: () => {
        const socket = new HandSocket()
        this.sockets.push(socket)
        return socket
      },
      diagnose: async () => this.failure,
      localNow: () => this.now_ms + this.skew_ms,
      random: () => this.draw,
      later: (action, wait_ms) => {
        const timer = { due_ms: this.now_ms + wait_ms, action }
        this.#timers.add(timer)
        return () => this.#timers.delete(timer)
      },
    })
    this.store.subscribe(() => this.told++)
  }

  /** Let time pass; every timer fires in its order, at its moment. */
  pass(ms: number): void {
    const until_ms = this.now_ms + ms
    for (;;) {
      const [next] = [...this.#timers].filter((timer) => timer.due_ms <= until_ms).sort((a, b) => a.due_ms - b.due_ms)
      if (next === undefined) break
      this.#timers.delete(next)
      this.now_ms = Math.max(this.now_ms, next.due_ms)
      next.action()
    }
    this.now_ms = until_ms
  }

  get timersSet(): number {
    return this.#timers.size
  }

  get socket(): HandSocket {
    const last = this.sockets.at(-1)
    if (last === undefined) throw new Error('no socket was opened')
    return last
  }

  says(message: object): void {
    this.socket.says(JSON.stringify({ as_of: iso(this.now_ms), ...message }))
  }

  snapshot(rooms: Room[] = [room('101')], events: AccessEvent[] = [], state: Link['state'] = 'online'): void {
    this.says({ type: 'snapshot', rooms, link: link(state), access_events: events, alerts: [] })
  }

  live(rooms?: Room[], events?: AccessEvent[]): void {
    this.store.start()
    this.socket.opens()
    this.snapshot(rooms, events)
  }
}

export class HandSocket implements Socket {
  onopen: ((event: never) => void) | null = null
  onmessage: ((event: { data: unknown }) => void) | null = null
  onclose: ((event: never) => void) | null = null
  onerror: ((event: never) => void) | null = null
  closed = false

  close(): void {
    this.closed = true
  }

  opens(): void {
    this.onopen?.(undefined as never)
  }

  says(data: unknown): void {
    this.onmessage?.({ data })
  }

  falls(): void {
    this.onerror?.(undefined as never)
    this.onclose?.(undefined as never)
  }
}

export function room(id: string, change: Partial<Room> = {}): Room {
  return {
    id, floor: 1, kind: 'guest_room', type: 'double', mode: 'comfort',
    lock: { door: `door-${id}`, state: 'locked', state_at: null, battery_percent: 80, last_event: null },
    light: { on: false, at: iso(START_MS), quality: 'good' },
    climate: { temperature: 21, setpoint: 21.5, unit: '°C', at: iso(START_MS), quality: 'good' },
    occupancy: { occupied: false, at: iso(START_MS), quality: 'good' },
    contact: { open: false, at: iso(START_MS), quality: 'good' },
    stay: null,
    conflicts: [],
    ...change,
  }
}

export function link(state: Link['state']): Link {
  return {
    state, edge: 'e-aurora0000000001', incarnation: '00', last_heard_at: iso(START_MS), last_ack_at: iso(START_MS),
    backlog: { a: 0, b: 0, c: 0 }, lanes: [{ lane: 'A', hi: 7, records: 7, gaps: 0 }],
  }
}

export function event(n: number, change: Partial<AccessEvent> = {}): AccessEvent {
  return {
    id: `ev-${String(n).padStart(4, '0')}`, door: 'door-101', room: '101', at: iso(START_MS + n * 1_000), event: 'opened',
    reason: null, stay: null, grant: null, lock_seq: n, received_at: iso(START_MS + n * 1_000), ...change,
  }
}
