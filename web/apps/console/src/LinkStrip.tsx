import type { LaneName, Link } from '@innkeeper/api'
import { ageMs } from '@innkeeper/api'
import { Age, formatAge, Icon, LinkBadge, useSurroundings, useTime } from '@innkeeper/ui'
import styles from './LinkStrip.module.css'

const LANES: Record<LaneName, string> = { A: 'Doors and stays', B: 'Devices', C: 'Readings' }
/** The edge says so much each few seconds while it is online; twice that without a word deserves a mark. */
const HEARD_STALE_AFTER_MS = 60_000

/** How well the cloud hears the house: when last, what waits there, what has come, what is missing. */
export function LinkStrip({ link, name }: { link: Link; name: string }) {
  const { source } = useSurroundings()
  const doubtful = source === 'stream'
  return (
    <section className={styles['strip']} aria-label="Link health" data-testid="link" data-state={link.state} data-doubtful={doubtful || undefined}>
      {link.state !== 'online' && <Silence link={link} name={name} />}
      <div className={styles['facts']}>
        <div className={styles['state']}>
          <LinkBadge state={link.state} />
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
        <table className={styles['lanes']}>
          <thead>
            <tr>
              <th scope="col">Lane</th>
              <th scope="col">Waiting there</th>
              <th scope="col">Records here</th>
              <th scope="col">Gaps</th>
            </tr>
          </thead>
          <tbody>
            {link.lanes.map((lane) => (
              <Row key={lane.lane} link={link} lane={lane} />
            ))}
          </tbody>
        </table>
      </div>
    </section>
  )
}

function Row({ link, lane }: { link: Link; lane: Link['lanes'][number] }) {
  const waiting = link.backlog?.[lane.lane.toLowerCase() as 'a' | 'b' | 'c']
  return (
    <tr data-lane={lane.lane}>
      <th scope="row">
        <span className={styles['lane']}>{lane.lane}</span> {LANES[lane.lane] ?? ''}
      </th>
      <td data-fact="backlog" className={waiting !== undefined && waiting > 100 ? styles['waiting'] : ''}>
        {waiting === undefined ? 'not known' : waiting.toLocaleString('en')}
      </td>
      <td data-fact="records" title={`complete up to ${lane.hi}`}>
        {lane.records.toLocaleString('en')}
      </td>
      <td data-fact="gaps" className={lane.gaps > 0 ? styles['gap'] : styles['noGap']}>
        <Icon name={lane.gaps > 0 ? 'warning' : 'check'} size={13} />
        {lane.gaps === 0 ? 'none' : lane.gaps.toLocaleString('en')}
      </td>
    </tr>
  )
}

function Silence({ link, name }: { link: Link; name: string }) {
  const age = useTime((now_ms) => {
    const since = ageMs(link.last_heard_at, now_ms)
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
        ) : (
          <>
            <strong>
              Nothing heard from {name} for {age}.
            </strong>{' '}
            The hotel keeps working by itself and keeps its records until the line is back. Everything below is what it last told us.
          </>
        )}
      </span>
    </p>
  )
}
