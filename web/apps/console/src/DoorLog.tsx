import { type AccessEvent, ageMs, aheadMs, ApiFailure, type Client, type LiveStore, type Room, stoodAt } from '@innkeeper/api'
import { Age, EventBadge, formatAge, formatClock, formatDay, isRefusal, saidReason, saidRoom, useSurroundings } from '@innkeeper/ui'
import { Button } from '@mantine/core'
import { useMemo, useRef, useState } from 'react'
import styles from './DoorLog.module.css'

/** An event that took longer than this to reach the cloud says so. */
const LATE_AFTER_MS = 15_000

interface DoorLogProps {
  client: Client
  property: string
  store: LiveStore
  events: readonly AccessEvent[]
  rooms: ReadonlyMap<string, Room>
  onOpen: (room: string) => void
}

/** What happened at the doors, newest first: when, where, what, and why not. */
export function DoorLog({ client, property, store, events, rooms, onOpen }: DoorLogProps) {
  const { zone, source } = useSurroundings()
  const [refusedOnly, setRefusedOnly] = useState(false)
  const older = useOlder(client, property, store)
  const refusals = useMemo(() => events.filter(isRefusal).length, [events])
  const shown = refusedOnly ? events.filter(isRefusal) : events
  return (
    <section className={styles['log']} aria-labelledby="door-log" data-testid="door-log">
      <header className={styles['head']}>
        <h2 id="door-log" className={styles['title']}>
          Door log
        </h2>
        <button type="button" className={styles['toggle']} aria-pressed={refusedOnly} onClick={() => setRefusedOnly(!refusedOnly)}>
          Refused <span>{refusals}</span>
        </button>
      </header>
      {source !== 'live' && (
        <p className={styles['note']}>
          {source === 'link' ? 'Newer events are kept at the hotel and come when its line is back.' : 'This page cannot hear newer events just now.'}
        </p>
      )}
      <div className={styles['scroll']} tabIndex={0} role="region" aria-label="Door log entries">
        {shown.length === 0 ? (
          <p className={styles['empty']}>{refusedOnly ? 'No refusal among the events held.' : 'No door event has come yet.'}</p>
        ) : (
          <ol className={styles['list']} aria-label="Door events, newest first">
            {shown.map((event, index) => {
              const day = formatDay(stoodAt(event.at, event.received_at), zone)
              const before = shown[index - 1]
              return (
                <li key={event.id}>
                  {before !== undefined && formatDay(stoodAt(before.at, before.received_at), zone) !== day && <div className={styles['day']}>{day}</div>}
                  <Entry event={event} zone={zone} onOpen={event.room !== null && rooms.has(event.room) ? onOpen : null} />
                </li>
              )
            })}
          </ol>
        )}
        {events.length > 0 && (
          <div className={styles['more']}>
            {older.done ? (
              <span className={styles['end']}>No older events.</span>
            ) : (
              <Button variant="default" size="compact-sm" onClick={older.ask} loading={older.asking}>
                Show older
              </Button>
            )}
            {older.failure !== null && <span role="alert">{older.failure}</span>}
          </div>
        )}
      </div>
    </section>
  )
}

function Entry({ event, zone, onOpen }: { event: AccessEvent; zone: string; onOpen: ((room: string) => void) | null }) {
  const refused = isRefusal(event)
  const late_ms = event.received_at === null ? 0 : (ageMs(event.at, Date.parse(event.received_at)) ?? 0)
  const ahead_ms = aheadMs(event.at, event.received_at)
  const place = event.room === null ? event.door : saidRoom(event.room)
  return (
    <div className={styles['entry']} data-testid="door-event" data-event={event.event} data-event-id={event.id} data-ahead={ahead_ms > 0 || undefined} data-refused={refused || undefined}>
      <span className={styles['time']}>{formatClock(stoodAt(event.at, event.received_at), zone)}</span>
      <div className={styles['what']}>
        <span className={styles['line']}>
          {onOpen !== null && event.room !== null ? (
            <button type="button" className={styles['place']} title={event.door} onClick={() => event.room !== null && onOpen(event.room)}>
              {place}
            </button>
          ) : (
            <span className={styles['placeText']}>{place}</span>
          )}
          <EventBadge event={event.event} />
        </span>
        {event.reason !== null && <span className={styles['reason']}>{saidReason(event.reason)}</span>}
        <span className={styles['detail']}>
          {event.stay === null ? (event.grant === null || event.event === 'bolt' ? 'No key involved' : 'No stay of ours') : `Stay ${event.stay}`}
          {late_ms > LATE_AFTER_MS && <span className={styles['late']}> · reached us {formatAge(late_ms)} later</span>}
        </span>
        {ahead_ms > 0 && (
          <span className={styles['ahead']} data-testid="clock-ahead">
            Dated {formatDay(event.at, zone)}, {formatClock(event.at, zone)}: the clock there is {formatAge(ahead_ms)} ahead
          </span>
        )}
      </div>
      <Age at={event.at} receivedAt={event.received_at} fact />
    </div>
  )
}

/** Pages of older events, from the cloud's own cursor. */
function useOlder(client: Client, property: string, store: LiveStore) {
  const cursor = useRef<string | null>(null)
  const [state, setState] = useState<{ asking: boolean; done: boolean; failure: string | null }>({ asking: false, done: false, failure: null })
  const ask = async (): Promise<void> => {
    setState({ asking: true, done: false, failure: null })
    try {
      if (cursor.current === null) {
        // The stream's first page came without a cursor; the same page over HTTP has one.
        const first = await client.accessEvents(property, null)
        store.takeOlder(first.events)
        cursor.current = first.next
      }
      if (cursor.current !== null) {
        const page = await client.accessEvents(property, cursor.current)
        store.takeOlder(page.events)
        cursor.current = page.next
      }
      setState({ asking: false, done: cursor.current === null, failure: null })
    } catch (error) {
      if (!(error instanceof ApiFailure)) throw error
      setState({ asking: false, done: false, failure: error.message })
    }
  }
  return { ...state, ask: () => void ask() }
}
