import { type CloudClock, type Property } from '@innkeeper/api'
import { Age, formatShortClock, Icon, LinkBadge, SurroundingsProvider, TickerProvider, useTime } from '@innkeeper/ui'
import { useMemo } from 'react'
import styles from './PropertiesPage.module.css'
import consoleStyles from './console.module.css'
import { Header } from './Header'
import { routeTo } from './route'
import { ASK_EVERY_MS, type Properties } from './useProperties'

const ORDER = { offline: 0, silent: 1, never: 2, online: 3 } as const
/** The list is asked for each ASK_EVERY_MS; after two missed answers it is no longer the present. */
const LIST_STALE_AFTER_MS = 2 * ASK_EVERY_MS

/** Every property with its link; what needs a look stands first. */
export function PropertiesPage({ properties }: { properties: Properties }) {
  const clock = useMemo<Pick<CloudClock, 'now_ms'>>(() => ({ now_ms: Date.now }), [])
  const sorted = useMemo(
    () => [...(properties.list ?? [])].sort((a, b) => ORDER[a.link.state] - ORDER[b.link.state] || a.name.localeCompare(b.name)),
    [properties.list],
  )
  const asked = properties.asked_at_ms === null ? null : new Date(properties.asked_at_ms).toISOString()
  return (
    <TickerProvider clock={clock}>
      <SurroundingsProvider value={{ source: properties.failure === null ? 'live' : 'stream', zone: 'UTC' }}>
        <Header title="Properties" detail={`${sorted.length}`}>
          <span className={consoleStyles['asOf']}>
            asked <Age at={asked} ago staleAfterMs={LIST_STALE_AFTER_MS} />
          </span>
        </Header>
        <main className={consoleStyles['main']}>
          {properties.failure !== null && (
            <p className={consoleStyles['streamLost']} role="alert">
              <Icon name="warning" /> {properties.failure.message} The list below is the last one received.
            </p>
          )}
          {sorted.length === 0 ? (
            <p className={consoleStyles['empty']}>No property has been loaded yet.</p>
          ) : (
            <ul className={styles['list']} aria-label="Properties">
              {sorted.map((property) => (
                <li key={property.id}>
                  <PropertyCard property={property} />
                </li>
              ))}
            </ul>
          )}
        </main>
      </SurroundingsProvider>
    </TickerProvider>
  )
}

function PropertyCard({ property }: { property: Property }) {
  const { link } = property
  const waiting = link.backlog === null ? null : link.backlog.a + link.backlog.b + link.backlog.c
  const gaps = link.lanes.reduce((sum, lane) => sum + lane.gaps, 0)
  const local = useTime((now_ms) => formatShortClock(now_ms, property.zone))
  return (
    <a className={styles['card']} href={routeTo({ property: property.id, room: null })} data-property={property.id} data-state={link.state}>
      <span className={styles['head']}>
        <span className={styles['name']}>{property.name}</span>
        <LinkBadge state={link.state} />
      </span>
      <span className={styles['where']}>
        {property.rooms} rooms · {property.zone.split('/').at(-1)?.replaceAll('_', ' ')} {local}
      </span>
      <dl className={styles['facts']}>
        <div>
          <dt>Heard</dt>
          <dd>
            <Age at={link.last_heard_at} stale={link.state !== 'online'} />
          </dd>
        </div>
        <div>
          <dt>Waiting there</dt>
          <dd>{waiting === null ? 'not known' : waiting.toLocaleString('en')}</dd>
        </div>
        <div>
          <dt>Gaps</dt>
          <dd className={gaps > 0 ? styles['gap'] : ''}>{gaps === 0 ? 'none' : gaps.toLocaleString('en')}</dd>
        </div>
      </dl>
    </a>
  )
}
