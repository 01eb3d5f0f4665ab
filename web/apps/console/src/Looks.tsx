import type { LiveSnapshot } from '@innkeeper/api'
import { Age, countLooks, Icon, type Look, looksAt, saidRoom, useSurroundings, useTime } from '@innkeeper/ui'
import { useMemo, useState } from 'react'
import styles from './Looks.module.css'

/** More lines than these are shown when asked for. */
const SHOWN_AT_FIRST = 4
const ROOMS_NAMED = 6

/** What deserves a look now. Rooms that need one can change by time alone, so the question is asked each beat. */
export function useLooks(now: Pick<LiveSnapshot, 'link' | 'alerts' | 'rooms' | 'order'>): readonly Look[] {
  const { source } = useSurroundings()
  const { link, alerts, rooms, order } = now
  const text = useTime((now_ms) => JSON.stringify(looksAt({ link, alerts, rooms, order }, now_ms, source)))
  return useMemo(() => JSON.parse(text) as Look[], [text])
}

/** The hotel's list of what deserves a look: the line, what is missing, what the building says, what rooms show. */
export function Looks({ looks, onOpen }: { looks: readonly Look[]; onOpen: (room: string) => void }) {
  const [all, setAll] = useState(false)
  if (looks.length === 0) return null
  const shown = all ? looks : looks.slice(0, SHOWN_AT_FIRST)
  const count = countLooks(looks)
  return (
    <section className={styles['looks']} aria-labelledby="looks" data-testid="looks" data-count={count}>
      <h2 id="looks" className={styles['title']}>
        Needs a look <span className={styles['count']}>{count}</span>
      </h2>
      <ul className={styles['list']}>
        {shown.map((look) => (
          <li key={look.id} className={styles['look']} data-look={look.kind}>
            <Icon name={look.icon} />
            <span className={styles['what']}>
              <strong>{look.what}</strong>
              {look.detail !== '' && <span className={styles['detail']}>{look.detail}</span>}
              {look.rooms.length > 0 && <Rooms look={look} onOpen={onOpen} />}
            </span>
            {look.at !== null && <Age at={look.at} receivedAt={look.received_at} fact />}
          </li>
        ))}
      </ul>
      {looks.length > SHOWN_AT_FIRST && (
        <button type="button" className={styles['more']} aria-expanded={all} onClick={() => setAll(!all)}>
          {all ? 'Show fewer' : `Show all ${looks.length}`}
        </button>
      )}
    </section>
  )
}

function Rooms({ look, onOpen }: { look: Look; onOpen: (room: string) => void }) {
  const named = look.rooms.slice(0, ROOMS_NAMED)
  const more = look.rooms.length - named.length
  return (
    <span className={styles['rooms']}>
      {named.map((room) => (
        <button key={room} type="button" className={styles['room']} onClick={() => onOpen(room)}>
          {saidRoom(room)}
        </button>
      ))}
      {more > 0 && <span className={styles['detail']}>and {more} more</span>}
    </span>
  )
}
