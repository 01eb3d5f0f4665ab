import { VisuallyHidden } from '@mantine/core'
import type { LaneName, Link } from '@innkeeper/api'
import { ageMs } from '@innkeeper/api'
import { Age, formatAge, Icon, LinkBadge, useSurroundings, useTime } from '@innkeeper/ui'
import styles from './LinkStrip.module.css'

const LANES: Record<LaneName, string> = { A: 'Doors and stays', B: 'Devices', C: 'Readings' }
/** An edge that is online speaks each few seconds; a minute without a word deserves a mark whatever its state says. */
const HEARD_STALE_AFTER_MS = 60_000
const WAITING_MANY = 100

/** How well the cloud hears the house: when last, what waits there, what has come, what is missing. */
export function LinkStrip({ link, name, asOf }: { link: Link; name: string; asOf: string | null }) {
  const { source } = useSurroundings()
  const doubtful = source === 'stream'
  return (
    <section className={styles['strip']} aria-label="Link health" data-testid="link" data-state={link.state} data-doubtful={doubtful || undefined}>
      {link.state !== 'online' && <Silence link={link} name={name} until={doubtful ? asOf : null} />}
      <div className={styles['facts']}>
        <div className={styles['state']}>
          <LinkBadge state={link.state} doubtful={doubtful} />
          <code className={styles['edge']} title={link.incarnation === null ? 'Edge' : `Edge; incarnation ${link.incarnation}`}>
            {link.edge}
          </code>
        </div>
        <dl className={styles['ages']}>
          <div>
            <dt>Last heard</dt>
            <dd data-testid="last-heard">
              <Age at={link.last_heard_at} ago stale={link.state !== 'online'} staleAfterMs={HEARD_STALE_AFTER_MS} />
            </dd>
          </div>
          <div>
            <dt>Last acknowledged</dt>
            <dd data-testid="last-ack">
              <Age at={link.last_ack_at} ago stale={link.state !== 'online'} />
            </dd>
          </div>
        </dl>
        <ul className={styles['lanes']} aria-label="Lanes">
          {link.lanes.map((lane) => (
            <LaneFacts key={lane.lane} link={link} lane={lane} />
          ))}
        </ul>
      </div>
    </section>
  )
}

const counted = (n: number): string => n.toLocaleString('en')

function LaneFacts({ link, lane }: { link: Link; lane: Link['lanes'][number] }) {
  const { source } = useSurroundings()
  const told = link.backlog?.[lane.lane.toLowerCase() as 'a' | 'b' | 'c']
  const waiting = source === 'live' ? told : undefined // while a line is cut the number there grows unseen
  return (
    <li data-lane={lane.lane}>
      <span className={styles['laneName']}>
        <span className={styles['lane']}>{lane.lane}</span> {LANES[lane.lane] ?? ''}
      </span>
      <span className={styles['laneFacts']}>
        <span data-fact="records" data-value={lane.records} title={`The cloud holds them without a break up to number ${lane.hi}`}>
          {counted(lane.records)} records
        </span>
        <span data-fact="gaps" data-value={lane.gaps} className={lane.gaps > 0 ? styles['gap'] : styles['noGap']}>
          <Icon name={lane.gaps > 0 ? 'warning' : 'check'} size={13} />
          {lane.gaps === 0 ? 'no gaps' : lane.gaps === 1 ? '1 gap' : `${counted(lane.gaps)} gaps`}
        </span>
        <span data-fact="backlog" data-value={waiting} className={waiting !== undefined && waiting >= WAITING_MANY ? styles['waiting'] : ''}
          title={told === undefined ? 'The hotel has not told how many records wait there' : `Records that wait at the hotel; it last told ${counted(told)}`}>
          {waiting === undefined ? (
            <>
              <span aria-hidden="true">?</span>
              <VisuallyHidden component="span">a number not known</VisuallyHidden>
            </>
          ) : (
            counted(waiting)
          )}{' '}
          waiting
        </span>
      </span>
    </li>
  )
}

/** `until`: the page lost its own line then; how long the silence has lasted since, it cannot know. */
function Silence({ link, name, until }: { link: Link; name: string; until: string | null }) {
  const age = useTime((now_ms) => {
    const since = ageMs(link.last_heard_at, until === null ? now_ms : Date.parse(until))
    return since === null ? null : formatAge(since)
  })
  return (
    <p className={styles['silence']} data-testid="silence">
      <Icon name="linkOff" size={20} />
      <span>
        {age === null ? (
          <>
            <strong>{name} has never been heard.</strong> Rooms and doors appear when its edge first connects.
          </>
        ) : until === null ? (
          <>
            <strong>
              Nothing heard from {name} for {age}.
            </strong>{' '}
            The hotel keeps working by itself and keeps its records until the line is back. Everything below is what it last told us.
          </>
        ) : (
          <>
            <strong>
              {name} had been silent for {age} when this page lost its own line.
            </strong>{' '}
            The hotel keeps working by itself and keeps its records.
          </>
        )}
      </span>
    </p>
  )
}
