/**
 * The live store: one property as the cloud tells it, for as long as somebody looks.
 *
 * Answers for: one socket, opened again with full jitter when it falls; a stream that is open but mute is as dead
 * as a closed one; the newest word wins and readers are told at most once a beat; rooms that did not change keep
 * their identity, so that a screen redraws only what did. Nothing is ever cleared by a lost line: what was last
 * known stays, and says that it is old.
 *
 * Knows no React: `subscribe` and `snapshot` are what useSyncExternalStore wants. Clocks, dice, sockets and timers
 * are handed in, so tests run without waiting.
 */
import { type Backoff, fullJitterMs } from './backoff'
import { CloudClock, stoodAt } from './clock'
import { decodeLiveMessage, PeerSaidNonsense } from './decode'
import type { FailureKind } from './client'
import type { AccessEvent, Alert, Link, LiveMessage, Room } from './types'

/** The cloud ticks every 5 s; two missed ticks and the stream is dead (G17: stale within twice the period). */
export const TICK_EVERY_MS = 5_000
export const STREAM_SILENT_AFTER_MS = 2 * TICK_EVERY_MS
/** A socket that neither opens nor fails is given up after this long. */
export const OPEN_WAIT_MS = 8_000
/** Readers are told at most this often: about three frames, unseen by an eye, kind to a busy property. */
export const BEAT_MS = 50
/** The newest door events that are held; older ones are asked for when wanted. */
export const EVENTS_HELD_MOST = 500
export const RECONNECT: Backoff = { first_ms: 500, most_ms: 15_000 }

export type StreamPhase = 'opening' | 'live' | 'lost'

export interface Failure {
  kind: FailureKind | 'nonsense'
  said: string
}

export interface LiveSnapshot {
  phase: StreamPhase
  /** Why the stream is lost, where we could learn it. */
  failure: Failure | null
  /** Tries since the stream was last live. */
  tries: number
  /** Local unix milliseconds of the next try; null while none is planned. */
  next_try_at_ms: number | null
  /** The cloud's own time in the last word that came; what is shown was true then. */
  as_of: string | null
  rooms: ReadonlyMap<string, Room>
  /** Rooms by floor, then by id as people count: 9 before 10. */
  order: readonly string[]
  link: Link | null
  /** Newest first. */
  events: readonly AccessEvent[]
  /** What is up, the last to arrive first. */
  alerts: readonly Alert[]
  /** Messages that were not understood since the page was opened. */
  nonsense: number
}

/** What a WebSocket is to us. `never` and `any` let the browser's own, whose handlers want whole events, pass as one. */
export interface Socket {
  onopen: ((event: never) => void) | null
  onmessage: ((event: any) => void) | null
  onclose: ((event: never) => void) | null
  onerror: ((event: never) => void) | null
  close(): void
}

export interface LiveOptions {
  connect: () => Socket
  /** After a lost stream: ask over HTTP what is wrong; null means "nothing that I can see". */
  diagnose?: () => Promise<Failure | null>
  clock?: CloudClock
  localNow?: () => number
  random?: () => number
  /** Runs `action` after `wait_ms`; returns how to call it off. */
  later?: (action: () => void, wait_ms: number) => () => void
  backoff?: Backoff
}

const NOTHING: LiveSnapshot = {
  phase: 'opening',
  failure: null,
  tries: 0,
  next_try_at_ms: null,
  as_of: null,
  rooms: new Map(),
  order: [],
  link: null,
  events: [],
  alerts: [],
  nonsense: 0,
}

/** Failures that trying again cannot mend. */
const FINAL: ReadonlySet<Failure['kind']> = new Set(['signed_out', 'forbidden', 'not_found'])

function browserLater(action: () => void, wait_ms: number): () => void {
  const timer = setTimeout(action, wait_ms)
  return () => clearTimeout(timer)
}

export class LiveStore {
  readonly clock: CloudClock
  readonly #options: Required<Omit<LiveOptions, 'clock'>>
  readonly #readers = new Set<() => void>()
  #now: LiveSnapshot = NOTHING
  #next: LiveSnapshot = NOTHING
  #socket: Socket | null = null
  #running = false
  #life = 0
  /** Whether this socket has said its snapshot: until then nothing else it says keeps it alive. */
  #whole = false
  #cancelBeat: (() => void) | null = null
  #cancelWatch: (() => void) | null = null
  #cancelRetry: (() => void) | null = null

  constructor(options: LiveOptions) {
    const localNow = options.localNow ?? Date.now
    this.clock = options.clock ?? new CloudClock(localNow)
    this.#options = {
      connect: options.connect,
      diagnose: options.diagnose ?? (async () => null),
      localNow,
      random: options.random ?? Math.random,
      later: options.later ?? browserLater,
      backoff: options.backoff ?? RECONNECT,
    }
  }

  readonly snapshot = (): LiveSnapshot => this.#now

  readonly subscribe = (reader: () => void): (() => void) => {
    this.#readers.add(reader)
    return () => {
      this.#readers.delete(reader)
    }
  }

  start(): void {
    if (this.#running) return
    this.#running = true
    this.#open()
  }

  stop(): void {
    this.#running = false
    this.#cancelRetry?.()
    this.#cancelRetry = null
    this.#cancelBeat?.()
    this.#cancelBeat = null
    this.#drop()
  }

  /** Try now instead of when the wait ends: the reader pressed the button, or the network came back. */
  readonly retryNow = (): void => {
    if (!this.#running || this.#next.phase === 'live' || this.#socket !== null) return
    this.#cancelRetry?.()
    this.#cancelRetry = null
    this.#open()
  }

  /** Take in older events that were asked for over HTTP. */
  takeOlder(events: readonly AccessEvent[]): void {
    this.#change({ events: mergeEvents(this.#next.events, events, Number.POSITIVE_INFINITY) })
  }

  #open(): void {
    this.#drop()
    const life = ++this.#life
    const mine = <A extends unknown[]>(act: (...args: A) => void) => (...args: A): void => {
      if (life === this.#life && this.#running) act(...args)
    }
    this.#change({ next_try_at_ms: null })
    let socket: Socket
    try {
      socket = this.#options.connect()
    } catch {
      this.#lost(null)
      return
    }
    this.#socket = socket
    this.#whole = false
    this.#watch(OPEN_WAIT_MS)
    socket.onopen = mine(() => this.#watch(STREAM_SILENT_AFTER_MS))
    socket.onmessage = mine(({ data }: { data: unknown }) => this.#receive(data))
    socket.onclose = mine(() => this.#lost(null))
    socket.onerror = mine(() => undefined) // a close always follows
  }

  #receive(data: unknown): void {
    let message: LiveMessage | null
    try {
      message = decodeLiveMessage(data)
    } catch (error) {
      if (!(error instanceof PeerSaidNonsense)) throw error
      this.#change({ nonsense: this.#next.nonsense + 1 })
      this.#lost({ kind: 'nonsense', said: error.message })
      return
    }
    this.#whole ||= message?.type === 'snapshot'
    if (!this.#whole) return // the agreed first word is the snapshot; without it nothing is whole
    this.#watch(STREAM_SILENT_AFTER_MS)
    if (message !== null) this.#apply(message)
  }

  #apply(message: LiveMessage): void {
    if (message.as_of !== undefined) this.clock.observe(message.as_of)
    const as_of = message.as_of ?? this.#next.as_of
    if (message.type === 'snapshot') {
      const rooms = new Map(message.rooms.map((room) => [room.id, keepIfSame(this.#next.rooms.get(room.id), room)]))
      this.#change({
        phase: 'live',
        failure: null,
        tries: 0,
        next_try_at_ms: null,
        as_of,
        rooms,
        order: orderOf(rooms),
        link: message.link,
        events: joinAfterCut(this.#next.events, message.access_events),
        alerts: message.alerts,
      })
      return
    }
    switch (message.type) {
      case 'rooms': {
        const rooms = new Map(this.#next.rooms)
        let grown = false
        for (const room of message.rooms) {
          const known = rooms.get(room.id)
          grown ||= known === undefined || known.floor !== room.floor
          rooms.set(room.id, keepIfSame(known, room))
        }
        this.#change({ as_of, rooms, ...(grown ? { order: orderOf(rooms) } : {}) })
        return
      }
      case 'access':
        this.#change({ as_of, events: mergeEvents(this.#next.events, message.events, this.#heldMost()) })
        return
      case 'alerts':
        this.#change({ as_of, alerts: message.alerts })
        return
      case 'link':
        this.#change({ as_of, link: message.link })
        return
      case 'tick':
        this.#change({ as_of })
        return
    }
  }

  #heldMost(): number {
    return Math.max(EVENTS_HELD_MOST, this.#next.events.length)
  }

  /** The stream is gone or mute. What was shown stays; the phase says that it is no longer live. */
  #lost(failure: Failure | null): void {
    this.#drop()
    const tries = this.#next.tries + 1
    const wait_ms = fullJitterMs(this.#options.backoff, tries - 1, this.#options.random)
    this.#change({
      phase: 'lost',
      failure: failure ?? this.#next.failure,
      tries,
      next_try_at_ms: this.#options.localNow() + wait_ms,
    })
    this.#cancelRetry?.()
    this.#cancelRetry = this.#options.later(() => {
      this.#cancelRetry = null
      if (this.#running) this.#open()
    }, wait_ms)
    if (failure === null) void this.#learnWhy()
  }

  async #learnWhy(): Promise<void> {
    const failure = await this.#options.diagnose()
    if (!this.#running || this.#next.phase === 'live') return
    if (failure !== null && FINAL.has(failure.kind)) {
      this.#cancelRetry?.()
      this.#cancelRetry = null
      this.#drop()
      this.#change({ failure, next_try_at_ms: null })
    } else {
      this.#change({ failure })
    }
  }

  #watch(wait_ms: number): void {
    this.#cancelWatch?.()
    this.#cancelWatch = this.#options.later(() => {
      this.#cancelWatch = null
      if (this.#running) this.#lost({ kind: 'unreachable', said: 'The live stream has gone quiet.' })
    }, wait_ms)
  }

  #drop(): void {
    this.#life++
    this.#cancelWatch?.()
    this.#cancelWatch = null
    const socket = this.#socket
    this.#socket = null
    if (socket !== null) {
      socket.onopen = socket.onmessage = socket.onclose = socket.onerror = null
      socket.close()
    }
  }

  /** Gather changes; tell readers once a beat. A change of phase does not wait: truth about the stream is urgent. */
  #change(change: Partial<LiveSnapshot>): void {
    const urgent = change.phase !== undefined && change.phase !== this.#now.phase
    this.#next = { ...this.#next, ...change }
    if (urgent) {
      this.#tell()
    } else {
      this.#cancelBeat ??= this.#options.later(() => this.#tell(), BEAT_MS)
    }
  }

  #tell(): void {
    this.#cancelBeat?.()
    this.#cancelBeat = null
    if (this.#next === this.#now) return
    this.#now = this.#next
    for (const reader of [...this.#readers]) reader()
  }
}

/** The old object where nothing changed, so that whoever holds it need not draw again. */
function keepIfSame(known: Room | undefined, room: Room): Room {
  return known !== undefined && JSON.stringify(known) === JSON.stringify(room) ? known : room
}

const asPeopleCount = new Intl.Collator('en', { numeric: true })

/** A room whose floor nobody has told comes last. */
const onFloor = ({ floor }: Room): number => floor ?? Number.MAX_SAFE_INTEGER

function orderOf(rooms: ReadonlyMap<string, Room>): string[] {
  return [...rooms.values()].sort((a, b) => onFloor(a) - onFloor(b) || asPeopleCount.compare(a.id, b.id)).map((room) => room.id)
}

/** An event of a clock that is ahead stands where it reached us, or it would stand on top for as long as it is ahead. */
function newestFirst(a: AccessEvent, b: AccessEvent): number {
  return Date.parse(stoodAt(b.at, b.received_at)) - Date.parse(stoodAt(a.at, a.received_at)) || (b.lock_seq ?? 0) - (a.lock_seq ?? 0) || (a.id < b.id ? 1 : -1)
}

/** Each event once, newest first, at most `most` of them. */
export function mergeEvents(held: readonly AccessEvent[], came: readonly AccessEvent[], most: number): AccessEvent[] {
  const byId = new Map(held.map((event) => [event.id, event]))
  for (const event of came) byId.set(event.id, event)
  return [...byId.values()].sort(newestFirst).slice(0, most)
}

/**
 * After a cut: keep what was held only if the new list reaches back to it. If it does not, events may be missing
 * between the two, and a list with a hole that nobody sees is worse than a short one.
 */
function joinAfterCut(held: readonly AccessEvent[], came: readonly AccessEvent[]): AccessEvent[] {
  const known = new Set(held.map((event) => event.id))
  const reaches = came.some((event) => known.has(event.id))
  return mergeEvents(reaches ? held : [], came, Math.max(EVENTS_HELD_MOST, held.length))
}
