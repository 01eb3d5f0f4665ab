import { beforeEach, describe, expect, it } from 'vitest'
import { ageMs, BEAT_MS, EVENTS_HELD_MOST, OPEN_WAIT_MS, RECONNECT, STREAM_SILENT_AFTER_MS, TICK_EVERY_MS } from '../src'
import { event, iso, room, Stage, START_MS } from './stage'

let stage: Stage
beforeEach(() => {
  stage = new Stage()
})
const now = () => stage.store.snapshot()
const settle = () => new Promise((done) => setTimeout(done, 0))

describe('a stream that speaks', () => {
  it('shows what the snapshot says, floor by floor, as people count', () => {
    stage.live([room('110'), room('201', { floor: 2 }), room('19'), room('lobby', { floor: 0 })])
    expect(now().phase).toBe('live')
    expect(now().order).toEqual(['lobby', '19', '110', '201'])
  })

  it('believes nothing before the snapshot', () => {
    stage.store.start()
    stage.socket.opens()
    stage.says({ type: 'rooms', rooms: [room('101')] })
    stage.pass(BEAT_MS)
    expect(now().phase).toBe('opening')
    expect(now().rooms.size).toBe(0)
  })

  it('tells its readers once for many words, with the newest of each', () => {
    stage.live()
    stage.told = 0
    for (let t = 0; t < 200; t++) stage.says({ type: 'rooms', rooms: [room('101', { mode: `m${t}` })] })
    expect(stage.told).toBe(0)
    stage.pass(BEAT_MS)
    expect(stage.told).toBe(1)
    expect(now().rooms.get('101')?.mode).toBe('m199')
  })

  it('keeps the identity of rooms that did not change', () => {
    stage.live([room('101'), room('102')])
    const before = now().rooms
    stage.says({ type: 'rooms', rooms: [room('101'), room('102', { mode: 'eco' })] })
    stage.pass(BEAT_MS)
    expect(now().rooms.get('101')).toBe(before.get('101'))
    expect(now().rooms.get('102')).not.toBe(before.get('102'))
  })

  it('puts an event of a clock that is ahead where it reached us', () => {
    const ahead = event(2, { at: iso(START_MS + 86_400_000), received_at: iso(START_MS + 2_000) })
    stage.live(undefined, [event(1), ahead])
    stage.says({ type: 'access', events: [event(3)] })
    stage.pass(BEAT_MS)
    expect(now().events.map((each) => each.lock_seq)).toEqual([3, 2, 1])
  })

  it('holds the alerts that are up, as last told', () => {
    const alert = { id: '7', kind: 'leak', state: 'raised', room: '101', device: null, raised_at: iso(START_MS), ended_at: null, detail: 'water', received_at: null }
    stage.live()
    expect(now().alerts).toEqual([])
    stage.says({ type: 'alerts', alerts: [alert] })
    stage.pass(BEAT_MS)
    expect(now().alerts).toEqual([alert])
    stage.says({ type: 'alerts', alerts: [] })
    stage.pass(BEAT_MS)
    expect(now().alerts).toEqual([])
  })

  it('passes over types that a newer cloud may say', () => {
    stage.live()
    stage.says({ type: 'weather', sky: 'clear' })
    expect(now().phase).toBe('live')
    expect(now().nonsense).toBe(0)
  })

  it('holds each door event once, newest first, and not more than it should', () => {
    stage.live(undefined, [event(1), event(2)])
    stage.says({ type: 'access', events: [event(3), event(2)] })
    stage.pass(BEAT_MS)
    expect(now().events.map((each) => each.id)).toEqual(['ev-0003', 'ev-0002', 'ev-0001'])
    stage.says({ type: 'access', events: Array.from({ length: EVENTS_HELD_MOST + 50 }, (_, n) => event(n + 10)) })
    stage.pass(BEAT_MS)
    expect(now().events).toHaveLength(EVENTS_HELD_MOST)
    expect(now().events[0]?.id).toBe(`ev-0${EVENTS_HELD_MOST + 59}`)
  })

  it('keeps older events that were asked for when newer ones come', () => {
    stage.live(undefined, [event(100)])
    stage.store.takeOlder(Array.from({ length: EVENTS_HELD_MOST + 20 }, (_, n) => event(n - 1_000)))
    stage.pass(BEAT_MS)
    expect(now().events).toHaveLength(EVENTS_HELD_MOST + 21)
    stage.says({ type: 'access', events: [event(101)] })
    stage.pass(BEAT_MS)
    expect(now().events[0]?.id).toBe('ev-0101')
    expect(now().events).toHaveLength(EVENTS_HELD_MOST + 21)
  })
})

describe('a stream that dies', () => {
  it('is called lost when it is open but mute for two ticks, and not a moment before', () => {
    stage.live()
    stage.pass(STREAM_SILENT_AFTER_MS - 1)
    expect(now().phase).toBe('live')
    stage.pass(1)
    expect(now().phase).toBe('lost')
    expect(stage.sockets[0]?.closed).toBe(true)
  })

  it('lives on ticks alone', () => {
    stage.live()
    for (let t = 0; t < 20; t++) {
      stage.pass(TICK_EVERY_MS)
      stage.says({ type: 'tick' })
    }
    expect(now().phase).toBe('live')
    expect(stage.sockets).toHaveLength(1)
  })

  it('is not kept alive by a socket that ticks but never says how things stand', () => {
    stage.store.start()
    stage.socket.opens()
    for (let t = 0; t < 3; t++) {
      stage.pass(TICK_EVERY_MS - 1)
      stage.says({ type: 'tick' })
    }
    expect(now().phase).toBe('lost')
  })

  it('keeps what was last known', () => {
    stage.live([room('101', { mode: 'eco' })], [event(1)])
    stage.socket.falls()
    expect(now().phase).toBe('lost')
    expect(now().rooms.get('101')?.mode).toBe('eco')
    expect(now().events).toHaveLength(1)
    expect(now().link?.state).toBe('online')
  })

  it('tells of the loss at once, not with the next beat', () => {
    stage.live()
    stage.told = 0
    stage.socket.falls()
    expect(stage.told).toBe(1)
  })

  it('gives up a socket that neither opens nor fails', () => {
    stage.store.start()
    stage.pass(OPEN_WAIT_MS)
    expect(now().phase).toBe('lost')
    expect(stage.sockets[0]?.closed).toBe(true)
  })

  it('drops a stream that talks nonsense, counts it, and comes back', () => {
    stage.live()
    stage.socket.says('{"type":')
    expect(now()).toMatchObject({ phase: 'lost', nonsense: 1, failure: { kind: 'nonsense' } })
    stage.pass(RECONNECT.most_ms)
    stage.socket.opens()
    stage.snapshot()
    expect(now()).toMatchObject({ phase: 'live', failure: null })
  })

  it('does not listen to a socket that it gave up', () => {
    stage.live()
    const old = stage.socket
    const speak = old.onmessage
    old.falls()
    speak?.({ data: JSON.stringify({ type: 'snapshot', as_of: iso(START_MS), rooms: [], link: { state: 'online', lanes: [] }, access_events: [], alerts: [] }) })
    expect(now().phase).toBe('lost')
  })
})

describe('coming back', () => {
  it('waits a drawn share of a ceiling that doubles up to a most', () => {
    stage.draw = 1
    stage.live()
    const waits: number[] = []
    for (let n = 0; n < 8; n++) {
      stage.socket.falls()
      const fell_ms = stage.now_ms
      stage.pass(BEAT_MS)
      const wait_ms = (now().next_try_at_ms ?? 0) - fell_ms
      waits.push(wait_ms)
      const opened = stage.sockets.length
      stage.pass(wait_ms - BEAT_MS - 1)
      expect(stage.sockets).toHaveLength(opened)
      stage.pass(1)
      expect(stage.sockets).toHaveLength(opened + 1)
    }
    expect(waits).toEqual([500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000])
  })

  it('starts from the shortest wait again once it has been live', () => {
    stage.draw = 1
    stage.live()
    for (let n = 0; n < 4; n++) {
      stage.socket.falls()
      stage.pass(RECONNECT.most_ms)
    }
    stage.socket.opens()
    stage.snapshot()
    stage.socket.falls()
    expect((now().next_try_at_ms ?? 0) - stage.now_ms).toBe(RECONNECT.first_ms)
  })

  it('takes the new snapshot whole: a room that is gone is gone', () => {
    stage.live([room('101'), room('102')])
    stage.socket.falls()
    stage.pass(RECONNECT.most_ms)
    stage.socket.opens()
    stage.snapshot([room('101')])
    expect(now().order).toEqual(['101'])
  })

  it('keeps held events when the new ones reach back to them', () => {
    stage.live(undefined, [event(1), event(2)])
    stage.socket.falls()
    stage.pass(RECONNECT.most_ms)
    stage.snapshot([room('101')], [event(2), event(3)])
    expect(now().events.map((each) => each.lock_seq)).toEqual([3, 2, 1])
  })

  it('lets held events go rather than hide a hole between them and the new ones', () => {
    stage.live(undefined, [event(1), event(2)])
    stage.socket.falls()
    stage.pass(RECONNECT.most_ms)
    stage.snapshot([room('101')], [event(60), event(61)])
    expect(now().events.map((each) => each.lock_seq)).toEqual([61, 60])
  })

  it('tries at once when asked, and does not try twice', () => {
    stage.draw = 1
    stage.live()
    stage.socket.falls()
    stage.store.retryNow()
    stage.store.retryNow()
    expect(stage.sockets).toHaveLength(2)
    stage.socket.opens()
    stage.snapshot()
    stage.pass(1_000)
    expect(stage.sockets).toHaveLength(2)
  })

  it.each(['signed_out', 'forbidden', 'not_found'] as const)('stops trying when the cloud says %s', async (kind) => {
    stage.live()
    stage.failure = { kind, said: 'no' }
    stage.socket.falls()
    await settle()
    stage.pass(10 * RECONNECT.most_ms)
    expect(stage.sockets).toHaveLength(1)
    expect(now()).toMatchObject({ phase: 'lost', failure: { kind }, next_try_at_ms: null })
  })

  it('goes on trying when the cloud cannot be reached', async () => {
    stage.live()
    stage.failure = { kind: 'unreachable', said: 'no answer' }
    stage.socket.falls()
    await settle()
    stage.pass(RECONNECT.most_ms)
    expect(stage.sockets.length).toBeGreaterThan(1)
  })

  it('leaves no timer and no socket behind when it is stopped', () => {
    stage.live()
    stage.says({ type: 'tick' })
    stage.store.stop()
    expect(stage.timersSet).toBe(0)
    expect(stage.socket.closed).toBe(true)
    stage.pass(60_000)
    expect(stage.sockets).toHaveLength(1)
  })
})

describe('ages', () => {
  it.each([0, 7 * 60_000, -7 * 60_000])('go by the cloud’s clock when this machine is %d ms off', (skew_ms) => {
    stage.skew_ms = skew_ms
    stage.live()
    stage.pass(4_000)
    expect(ageMs(iso(START_MS), stage.store.clock.now_ms())).toBe(4_000)
  })

  it('go on growing when the stream is dead', () => {
    stage.skew_ms = 90_000
    stage.live()
    stage.socket.falls()
    stage.pass(60_000)
    expect(ageMs(iso(START_MS), stage.store.clock.now_ms())).toBe(60_000)
  })

  it('are never negative and never invented', () => {
    expect(ageMs(iso(START_MS + 500), START_MS)).toBe(0)
    expect(ageMs(null, START_MS)).toBeNull()
    expect(ageMs('yesterday', START_MS)).toBeNull()
  })
})
