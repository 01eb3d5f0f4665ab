/** What the doors of one stay told, for the guest who asks at the desk: read it together, or print it. */
import type { Property } from '@innkeeper/api'
import { EventBadge, Icon, saidReason, saidRoom } from '@innkeeper/ui'
import { Button } from '@mantine/core'
import { useCallback, useEffect, useState } from 'react'
import arrivalsStyles from './Arrivals.module.css'
import consoleStyles from './console.module.css'
import { Header } from './Header'
import { Notice } from './Notices'
import { asked, Refused } from './passkeys'
import { arrivalsOf } from './route'
import { SignIn } from './SignIn'
import styles from './StayLog.module.css'

type KeyOf = 'guest' | 'other_stay' | 'house' | 'none'

interface Entry {
  at: string
  received_at: string
  door: string
  room: string | null
  event: string
  reason: string | null
  key: KeyOf
  lock: string | null
  lock_seq: number | null
  time_quality: string | null
}

interface Log {
  guest_name: string
  room: string | null
  came_at: string | null
  left_at: string | null
  entries: Entry[]
  missing: { door: string; count: number }[]
  truncated: boolean
  as_of: string
}

const KEYS: Record<KeyOf, string> = {
  guest: 'A key of this stay', other_stay: 'Another guest’s key', house: 'A key of the house', none: 'No key',
}

export function StayLogPage({ property, stay }: { property: Property; stay: string }) {
  const [log, setLog] = useState<Log | null>(null)
  const [refused, setRefused] = useState<Refused | null>(null)

  const read = useCallback(async () => {
    try {
      setLog(await asked<Log>('GET', `api/v1/properties/${encodeURIComponent(property.id)}/stays/${encodeURIComponent(stay)}/door-log`))
      setRefused(null)
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      setRefused(error)
    }
  }, [property.id, stay])
  useEffect(() => void read(), [read])

  return (
    <>
      <div className={styles['unprinted']}><Header title={property.name} detail="Door log of a stay" back /></div>
      <main className={consoleStyles['main']}>
        {refused?.status === 401 ? <SignIn /> : refused !== null && (
          <Notice title="No door log here" icon="lock"><p>{refused.message}</p><Button variant="default" onClick={() => void read()}>Try again</Button></Notice>
        )}
        {log !== null && refused === null && <Sheet property={property} log={log} onAgain={() => void read()} />}
      </main>
    </>
  )
}

function Sheet({ property, log, onAgain }: { property: Property; log: Log; onAgain: () => void }) {
  const minute = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'short', timeZone: property.zone })
  const second = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium', timeZone: property.zone })
  const from = log.came_at === null ? 'not checked in' : `from ${minute.format(new Date(log.came_at))}`
  const until = log.left_at === null ? '' : ` to ${minute.format(new Date(log.left_at))}`
  return (
    <article className={styles['sheet']} aria-labelledby="stay-log" data-testid="stay-log">
      <h2 id="stay-log" className={styles['title']}>{property.name}: door log of {log.guest_name}</h2>
      <p className={styles['dim']}>{log.room === null ? 'No room' : saidRoom(log.room)}, {from}{until}. As known at {second.format(new Date(log.as_of))}, in the time of {property.zone}.</p>
      <div className={`${styles['actions']} ${styles['unprinted']}`}>
        <Button onClick={() => window.print()} disabled={log.entries.length === 0}>Print</Button>
        <Button variant="default" onClick={onAgain}>Read again</Button>
        <Button variant="subtle" component="a" href={arrivalsOf(property.id)}>Back to arrivals</Button>
      </div>
      {log.missing.map(({ door, count }) => (
        <p key={door} className={styles['missing']}><Icon name="warning" /> {count} {count === 1 ? 'entry' : 'entries'} of {door} {count === 1 ? 'has' : 'have'} not arrived here yet: this log is not whole.</p>
      ))}
      {log.truncated && <p className={styles['missing']}><Icon name="warning" /> There are more entries than fit: the newest are left out.</p>}
      {log.entries.length === 0 ? <p className={arrivalsStyles['empty']}>No door has told anything of this stay yet.</p> : (
        <div className={styles['scroll']} tabIndex={0} role="region" aria-labelledby="stay-log">
          <table className={styles['table']}>
            <thead><tr><th scope="col">When</th><th scope="col">Door</th><th scope="col">What</th><th scope="col">Whose key</th><th scope="col">Entry of the lock</th></tr></thead>
            <tbody>
              {log.entries.map((entry) => (
                <tr key={`${entry.lock}-${entry.lock_seq}-${entry.at}-${entry.event}`} data-key={entry.key}>
                  <td>{second.format(new Date(entry.at))}{Date.parse(entry.at) > Date.parse(entry.received_at) && ' (a clock that is ahead)'}</td>
                  <td>{entry.room === null ? entry.door : saidRoom(entry.room)}</td>
                  <td><EventBadge event={entry.event} />{entry.reason !== null && ` ${saidReason(entry.reason)}`}</td>
                  <td>{KEYS[entry.key]}</td>
                  <td>{entry.lock_seq === null ? 'not numbered' : entry.lock_seq}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      <p className={styles['dim']}>
        Each lock numbers and chains its entries, and signs them for the house, which checks the chain before it keeps them. Shown is what keys of this stay
        did at any door, and what happened at the door of the room while it was this guest’s. Of other people no more is said than whose kind of key it was.
      </p>
    </article>
  )
}
