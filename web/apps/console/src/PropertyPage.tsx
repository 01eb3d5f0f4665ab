import type { Client, LiveSnapshot, Property } from '@innkeeper/api'
import { formatAge, formatShortClock, Icon, saidLink, type Source, SurroundingsProvider, TickerProvider, useTicker, useTime } from '@innkeeper/ui'
import { Button, SegmentedControl, VisuallyHidden } from '@mantine/core'
import { useMediaQuery } from '@mantine/hooks'
import { useCallback, useEffect, useState } from 'react'
import { ageMs } from '@innkeeper/api'
import styles from './console.module.css'
import { DoorLog } from './DoorLog'
import { Header } from './Header'
import { LinkStrip } from './LinkStrip'
import { ColdGrid, FailurePage } from './Notices'
import { SignIn } from './SignIn'
import { Looks, useLooks } from './Looks'
import { RoomDrawer } from './RoomDrawer'
import { RoomGrid } from './RoomGrid'
import { go, replaceRoute } from './route'
import { useLive } from './useLive'

interface PropertyPageProps {
  client: Client
  property: Property
  room: string | null
  alone: boolean
}

/** One hotel, now: its link, its rooms, its doors. */
export function PropertyPage({ client, property, room, alone }: PropertyPageProps) {
  const { store, now } = useLive(client, property.id)
  const narrow = useMediaQuery('(max-width: 1000px)', window.innerWidth <= 1000) ?? false
  const [tab, setTab] = useState<'rooms' | 'doors'>('rooms')
  const open = useCallback((id: string) => go({ property: property.id, room: id }), [property.id])
  const close = useCallback(() => go({ property: property.id, room: null }), [property.id])
  const known = now.order.length > 0 || now.link !== null
  const shown = room === null ? undefined : now.rooms.get(room)
  const source: Source = now.phase === 'lost' ? 'stream' : now.link !== null && now.link.state !== 'online' ? 'link' : 'live'

  useEffect(() => {
    if (known && room !== null && shown === undefined) replaceRoute({ property: property.id, room: null })
  }, [known, room, shown, property.id])

  useEffect(() => {
    const mark = source === 'live' ? '' : source === 'stream' ? 'Not live · ' : `${saidLink(now.link?.state ?? 'never')} · `
    document.title = `${mark}${property.name} · Innkeeper`
  }, [source, now.link?.state, property.name])

  if (!known && now.failure?.kind === 'not_found') {
    return <FailurePage failure={{ kind: 'not_found', message: now.failure.said }} again={() => window.location.reload()} />
  }

  return (
    <TickerProvider clock={store.clock}>
      <SurroundingsProvider value={{ source, zone: property.zone }}>
        <a className={styles['skip']} href="#main" onClick={skipToRooms}>
          Skip to content
        </a>
        <Header title={property.name} detail={<LocalClock zone={property.zone} />} back={!alone}>
          <StreamState now={now} />
        </Header>
        <Announcer now={now} name={property.name} />
        <main className={styles['main']} id="main" tabIndex={-1} data-source={source} data-testid="property" data-property={property.id}>
          {now.failure?.kind === 'signed_out' && <SignIn />}
          {now.phase === 'lost' && now.failure?.kind !== 'signed_out' && <StreamLost now={now} retry={store.retryNow} />}
          {!known ? (
            <div aria-busy="true">
              <ColdGrid />
            </div>
          ) : (
            <>
              {now.link !== null && <LinkStrip link={now.link} name={property.name} asOf={now.as_of} />}
              {narrow && (
                <SegmentedControl
                  fullWidth
                  mb={14}
                  aria-label="What to show"
                  value={tab}
                  onChange={(value) => setTab(value === 'doors' ? 'doors' : 'rooms')}
                  data={[
                    { value: 'rooms', label: 'Rooms' },
                    { value: 'doors', label: 'Door log' },
                  ]}
                />
              )}
              <div className={styles['columns']}>
                {(!narrow || tab === 'rooms') && <RoomsAndLooks now={now} opened={room} onOpen={open} />}
                {(!narrow || tab === 'doors') && <DoorLog client={client} property={property.id} store={store} events={now.events} onOpen={open} rooms={now.rooms} />}
              </div>
            </>
          )}
        </main>
        <RoomDrawer room={shown ?? null} events={now.events} alerts={now.alerts} onClose={close} />
      </SurroundingsProvider>
    </TickerProvider>
  )
}

function RoomsAndLooks({ now, opened, onOpen }: { now: LiveSnapshot; opened: string | null; onOpen: (id: string) => void }) {
  const looks = useLooks(now)
  return (
    <div>
      <Looks looks={looks} onOpen={onOpen} />
      <RoomGrid rooms={now.rooms} order={now.order} looks={looks} opened={opened} onOpen={onOpen} />
    </div>
  )
}

function skipToRooms(event: React.MouseEvent): void {
  event.preventDefault() // the address behind # is ours
  const first = document.querySelector<HTMLElement>('[data-room] button[tabindex="0"]') ?? document.getElementById('main')
  first?.focus()
}

function LocalClock({ zone }: { zone: string }) {
  const local = useTime((now_ms) => formatShortClock(now_ms, zone))
  return (
    <>
      {zone.split('/').at(-1)?.replaceAll('_', ' ')} {local}
    </>
  )
}

/** The page's own line to the cloud: not the hotel's. */
function StreamState({ now }: { now: LiveSnapshot }) {
  const ticker = useTicker()
  useEffect(() => ticker.beat(), [ticker, now.phase]) // the first word sets the clock; ages must not wait a second for it
  const age = useTime((now_ms) => formatAge(ageMs(now.as_of, now_ms) ?? 0))
  const text = { opening: 'Connecting', live: 'Live', lost: 'Not live' }[now.phase]
  return (
    <span className={styles['stream']} data-testid="stream" data-phase={now.phase} title="This page’s own line to the cloud">
      <span className={styles['dot']} />
      <span className={styles['streamWord']}>{text}</span>
      {now.as_of !== null && <span className={styles['streamAge']}>{age}</span>}
    </span>
  )
}

function StreamLost({ now, retry }: { now: LiveSnapshot; retry: () => void }) {
  const age = useTime((now_ms) => (now.as_of === null ? null : formatAge(ageMs(now.as_of, now_ms) ?? 0)))
  return (
    <div className={styles['streamLost']} data-testid="stream-lost">
      <Icon name="warning" size={20} />
      <div className={styles['lostText']}>
        <strong>This page has lost its line to the cloud.</strong>{' '}
        {age === null ? 'Nothing has been received yet.' : `What you see was true ${age} ago and may have changed since.`}{' '}
        {now.failure !== null && <span className={styles['why']}>{now.failure.said}</span>}
      </div>
      <Button size="compact-sm" variant="default" onClick={retry} disabled={now.next_try_at_ms === null}>
        {now.next_try_at_ms === null ? 'Trying…' : 'Try now'}
      </Button>
    </div>
  )
}

/** Tells a screen reader when a line changes; never the ages, which change each second. */
function Announcer({ now, name }: { now: LiveSnapshot; name: string }) {
  const text =
    now.phase === 'opening'
      ? ''
      : now.phase === 'lost'
        ? 'This page has lost its line to the cloud. What is shown may be old.'
        : `Link to ${name}: ${saidLink(now.link?.state ?? 'never')}.`
  return (
    <VisuallyHidden role="status" aria-live="polite" data-testid="announcer">
      {text}
    </VisuallyHidden>
  )
}
