import type { AccessEvent, Alert, Quality, Room } from '@innkeeper/api'
import {
  Age, CLIMATE_STALE_AFTER_MS, degrees, EventBadge, formatClock, formatFull, humanise, Icon, type IconName, isBatteryLow, isDoubtful,
  saidAlert, saidEvent, saidFloor, saidLock, saidMode, saidPercent, saidQuality, saidReason, saidRoom, saidStay, useSurroundings, yesNo,
} from '@innkeeper/ui'
import { Drawer } from '@mantine/core'
import { type ReactNode, useEffect, useState } from 'react'
import { ConflictNote } from './ConflictNote'
import styles from './RoomDrawer.module.css'

const EVENTS_MOST = 12

/** One room in full: who, each capability with its quality and age, and what happened at its door. */
export function RoomDrawer({ room, events, alerts, onClose }: { room: Room | null; events: readonly AccessEvent[]; alerts: readonly Alert[]; onClose: () => void }) {
  const held = useLast(room)
  return (
    <Drawer.Root opened={room !== null} onClose={onClose} position="right" size={460} padding={0} transitionProps={{ duration: 140 }}
      classNames={{ content: styles['content'] ?? '', title: styles['title'] ?? '', body: styles['body'] ?? '' }}>
      <Drawer.Overlay color="#000" backgroundOpacity={0.28} />
      <Drawer.Content>
        <div className={styles['header']}>
          <Drawer.Title>{held === null ? '' : saidRoom(held.id)}</Drawer.Title>
          <Drawer.CloseButton aria-label="Close room" size="lg" />
        </div>
        <Drawer.Body>{held !== null && <Detail room={held} events={events} alerts={alerts} />}</Drawer.Body>
      </Drawer.Content>
    </Drawer.Root>
  )
}

/** While the drawer slides shut it still shows the room that it showed. */
function useLast(room: Room | null): Room | null {
  const [last, setLast] = useState(room)
  useEffect(() => {
    if (room !== null) setLast(room)
  }, [room])
  return room ?? last
}

function Detail({ room, events, alerts }: { room: Room; events: readonly AccessEvent[]; alerts: readonly Alert[] }) {
  const { source, zone } = useSurroundings()
  const here = events.filter((event) => event.room === room.id).slice(0, EVENTS_MOST)
  const up = alerts.filter((alert) => alert.room === room.id)
  return (
    <div data-testid="room-detail" data-room-detail={room.id}>
      <p className={styles['what']}>
        {[room.type && humanise(room.type), saidFloor(room.floor), room.lock?.door].filter(Boolean).join(' · ')}
      </p>
      {source !== 'live' && (
        <p className={styles['held']}>
          <Icon name="clock" />
          {source === 'link' ? 'Last known: the hotel’s link is silent.' : 'Last known: this page is not live.'}
        </p>
      )}
      {up.length > 0 && (
        <section className={styles['section']} data-testid="room-alerts">
          <h3>Needs a look</h3>
          <ul className={`${styles['events']} ${styles['alerts']}`}>
            {up.map((alert) => (
              <li key={alert.id}>
                <Icon name="warning" />
                <span>
                  {saidAlert(alert.kind)}
                  <span className={styles['reason']}>{[alert.device, alert.detail].filter(Boolean).join(': ')}</span>
                </span>
                <Age at={alert.raised_at} receivedAt={alert.received_at} fact />
              </li>
            ))}
          </ul>
        </section>
      )}
      {room.kind === 'guest_room' && (
        <section className={styles['section']}>
          <h3>Stay</h3>
          {room.stay === null ? (
            <p className={styles['none']}>Vacant. No stay is held for this room.</p>
          ) : (
            <dl className={styles['stay']}>
              <Fact name="Guest">{room.stay.guest_name || 'Name not held'}</Fact>
              <Fact name="State">{saidStay(room.stay.state)}</Fact>
              <Fact name="Until">{room.stay.until === null ? 'not known' : formatFull(room.stay.until, zone)}</Fact>
              <Fact name="Stay">
                <code>{room.stay.id}</code>
              </Fact>
            </dl>
          )}
          {room.conflicts.map((each) => <ConflictNote key={each.stay} conflict={each} />)}
        </section>
      )}
      <section className={styles['section']}>
        <h3>Capabilities</h3>
        <table className={styles['table']}>
          <thead>
            <tr>
              <th scope="col">What</th>
              <th scope="col">Value</th>
              <th scope="col">Quality</th>
              <th scope="col">Age</th>
            </tr>
          </thead>
          <tbody>{capabilities(room)}</tbody>
        </table>
      </section>
      {room.lock !== null && (
        <section className={styles['section']}>
          <h3>At this door</h3>
          {here.length === 0 ? (
            <p className={styles['none']}>None among the events held here.</p>
          ) : (
            <ol className={styles['events']}>
              {here.map((event) => (
                <li key={event.id}>
                  <span className={styles['clock']}>{formatClock(event.at, zone)}</span>
                  <span>
                    <EventBadge event={event.event} />
                    {event.reason !== null && <span className={styles['reason']}>{saidReason(event.reason)}</span>}
                  </span>
                  <Age at={event.at} receivedAt={event.received_at} fact />
                </li>
              ))}
            </ol>
          )}
        </section>
      )}
    </div>
  )
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  )
}

function capabilities(room: Room): ReactNode[] {
  const { lock, light, climate, occupancy, contact } = room
  const rows: ReactNode[] = []
  if (lock) {
    const at = lock.last_event?.at ?? null
    rows.push(<Row key="lock" icon={lock.state === 'locked' ? 'lock' : lock.state === 'unknown' ? 'question' : 'unlock'} name="Lock" value={saidLock(lock.state)} at={lock.state_at ?? at} {...(lock.state_at === null && lock.last_event !== null ? { receivedAt: lock.last_event.received_at } : {})} />)
    if (lock.last_event !== null) rows.push(<Row key="event" icon="door" name="Last event" value={saidEvent(lock.last_event.event)} at={at} receivedAt={lock.last_event.received_at} fact {...(lock.last_event.reason === null ? {} : { note: saidReason(lock.last_event.reason) })} />)
    rows.push(
      <Row key="battery" icon="battery" name="Lock battery" value={lock.battery_percent === null ? 'Unknown' : saidPercent(lock.battery_percent)} at={at} receivedAt={lock.last_event?.received_at ?? null}
        warn={isBatteryLow(lock.battery_percent)} note={isBatteryLow(lock.battery_percent) ? 'low' : 'by its last event'} />,
    )
  }
  if (climate) {
    rows.push(<Row key="temperature" icon="thermometer" name="Temperature" value={`${degrees(climate.temperature)}C`} quality={climate.quality} at={climate.at} staleAfterMs={CLIMATE_STALE_AFTER_MS} />)
    if (climate.setpoint !== null) {
      rows.push(
        <Row key="setpoint" icon="thermometer" name="Setpoint" value={`${degrees(climate.setpoint)}C`} quality={climate.quality} at={climate.at} staleAfterMs={CLIMATE_STALE_AFTER_MS}
          {...(room.mode === null ? {} : { note: saidMode(room.mode) })} />,
      )
    }
  }
  if (light) rows.push(<Row key="light" icon="bulb" name="Light" value={yesNo(light.on, 'On', 'Off')} quality={light.quality} at={light.at} />)
  if (occupancy) rows.push(<Row key="presence" icon="person" name="Presence" value={yesNo(occupancy.occupied, 'Present', 'Nobody')} quality={occupancy.quality} at={occupancy.at} />)
  if (contact) {
    rows.push(
      <Row key="contact" icon={contact.open ? 'doorOpen' : 'door'} name="Door contact" value={yesNo(contact.open, 'Open', 'Closed')} quality={contact.quality} at={contact.at} />,
    )
  }
  if (rows.length === 0) {
    rows.push(
      <tr key="none">
        <td colSpan={4}>This room has told of nothing yet.</td>
      </tr>,
    )
  }
  return rows
}

function Row({ icon, name, value, quality, at, receivedAt = null, staleAfterMs, warn = false, fact = false, note }: {
  icon: IconName; name: string; value: string; quality?: Quality; at: string | null; receivedAt?: string | null; staleAfterMs?: number; warn?: boolean; fact?: boolean; note?: string
}) {
  return (
    <tr>
      <th scope="row">
        <Icon name={icon} /> {name}
      </th>
      <td className={warn ? styles['warn'] : ''}>
        {value}
        {note !== undefined && <small>{note}</small>}
      </td>
      <td className={isDoubtful(quality) ? styles['warn'] : styles['quality']}>{quality === undefined ? '–' : saidQuality(quality)}</td>
      <td>
        <Age at={at} receivedAt={receivedAt} fact={fact} stale={isDoubtful(quality)} {...(staleAfterMs === undefined ? {} : { staleAfterMs })} />
      </td>
    </tr>
  )
}
