import type { Room } from '@innkeeper/api'
import { VisuallyHidden } from '@mantine/core'
import { memo, type ReactNode, useEffect, useRef, useState } from 'react'
import { Age } from './Age'
import { isBatteryLow, isOpenLong } from './attention'
import { CLIMATE_STALE_AFTER_MS, isDoubtful } from './freshness'
import { BatteryIcon, Icon, type IconName } from './icons'
import styles from './RoomTile.module.css'
import { useSurroundings } from './source'
import { StateBadge, type Tone } from './StateBadge'
import { formatDay } from './time'
import { useTime } from './ticker'
import { humanise, isInHouse, saidEvent, saidLock, saidMode, saidPercent, saidStay } from './words'

export interface RoomTileProps {
  room: Room
  /** Why it needs a look, in words; empty: it needs none. */
  attention?: string
  selected?: boolean
  /** 0 for the one tile that Tab reaches; the arrows reach the others. */
  tabIndex?: 0 | -1
  onOpen: (id: string) => void
  onFocus?: (id: string) => void
}

/** One room at a glance: who, door, climate, light, presence; each with its age. */
export const RoomTile = memo(function RoomTile({ room, attention = '', selected = false, tabIndex = 0, onOpen, onFocus }: RoomTileProps) {
  const { source, zone } = useSurroundings()
  const openLong = useTime((now_ms) => isOpenLong(room, now_ms))
  const changed = useChangeMark(room)
  const held = source !== 'live'
  return (
    // The whole tile answers to a pointer; keyboards and screen readers have the button in it, and read the rest as text.
    <div
      className={changed ? `${styles['tile']} ${styles['changed']}` : styles['tile']}
      data-room={room.id}
      data-testid="room-tile"
      data-attention={attention || undefined}
      data-held={held || undefined}
      onClick={() => onOpen(room.id)}
    >
      <span className={styles['head']}>
        <h3 className={styles['id']}>
          <button type="button" className={styles['open']} aria-haspopup="dialog" aria-expanded={selected} tabIndex={tabIndex}
            onFocus={() => onFocus?.(room.id)}>
            {/^\d/.test(room.id) ? (
              <>
                <VisuallyHidden component="span">Room </VisuallyHidden>
                {room.id}
              </>
            ) : (
              humanise(room.id)
            )}
            <VisuallyHidden component="span">{spoken(room, attention, held)}</VisuallyHidden>
          </button>
        </h3>
        {room.type !== null && humanise(room.type) !== humanise(room.id) && <span className={styles['type']}>{humanise(room.type)}</span>}
        {attention !== '' && (
          <span className={styles['flag']} title={attention}>
            <Icon name="warning" size={15} />
          </span>
        )}
        <span className={styles['push']}>{stayBadge(room)}</span>
      </span>

      {room.kind === 'guest_room' && (
        <span className={styles['guest']}>
          {room.stay === null ? (
            <>
              <span className={styles['none']}>Vacant</span>
              {room.mode !== null && <span className={styles['until']}>{saidMode(room.mode)}</span>}
            </>
          ) : (
            <>
              <span className={styles['name']} title={room.stay.guest_name ?? undefined}>{room.stay.guest_name || 'Name not held'}</span>
              {room.stay.until !== null && <span className={styles['until']}>until {formatDay(room.stay.until, zone)}</span>}
            </>
          )}
        </span>
      )}

      <span className={styles['rows']}>
        {room.lock !== null && (
          <>
            {room.lock.state !== 'unknown' && (
              <span className={styles['row']} data-testid="tile-lock">
                <span className={`${styles['icon']} ${lockTone(room.lock.state)}`}>
                  <Icon name={room.lock.state === 'locked' ? 'lock' : 'unlock'} />
                </span>
                <span className={`${styles['value']} ${lockTone(room.lock.state)}`}>{saidLock(room.lock.state)}</span>
                {battery(room.lock.battery_percent)}
              </span>
            )}
            <span className={styles['row']} data-testid="tile-event" title={room.lock.state === 'unknown' ? LOCK_MUTE : undefined}>
              <span className={styles['icon']}>
                <Icon name={room.lock.last_event?.event === 'refused' ? 'cross' : 'door'} />
              </span>
              {room.lock.last_event === null ? (
                <span className={styles['last']}>No door event held</span>
              ) : (
                <>
                  <span className={`${styles['last']} ${room.lock.last_event.event === 'refused' ? styles['refused'] : ''}`} title={saidEvent(room.lock.last_event.event)}>
                    {saidEvent(room.lock.last_event.event)}
                  </span>
                  <span className={room.lock.state === 'unknown' ? '' : styles['push']}>
                    <Age at={room.lock.last_event.at} receivedAt={room.lock.last_event.received_at} ago={room.lock.state === 'unknown' && room.lock.battery_percent === null} fact />
                  </span>
                </>
              )}
              {room.lock.state === 'unknown' && battery(room.lock.battery_percent)}
            </span>
          </>
        )}
        {room.climate !== null && (
          <span className={styles['row']} data-testid="tile-climate">
            <span className={styles['icon']}>
              <Icon name="thermometer" />
            </span>
            <span className={styles['degrees']}>{degrees(room.climate.temperature)}</span>
            {room.climate.setpoint !== null && (
              <span className={styles['setpoint']}>
                <VisuallyHidden>setpoint</VisuallyHidden>→ {degrees(room.climate.setpoint)}
                {room.mode !== null && room.stay !== null && ` · ${saidMode(room.mode)}`}
              </span>
            )}
            <span className={styles['push']}>
              <Age at={room.climate.at} staleAfterMs={CLIMATE_STALE_AFTER_MS} stale={isDoubtful(room.climate.quality)} />
            </span>
          </span>
        )}
      </span>

      {(room.light !== null || room.occupancy !== null || room.contact !== null) && (
        <span className={styles['cells']}>
          {room.light !== null && (
            <Cell icon="bulb" glow={room.light.on === true} word={yesNo(room.light.on, 'On', 'Off')} name="Light"
              at={room.light.at} stale={isDoubtful(room.light.quality)} />
          )}
          {room.occupancy !== null && (
            <Cell icon="person" word={yesNo(room.occupancy.occupied, 'Present', 'Nobody')} name="Presence"
              at={room.occupancy.at} stale={isDoubtful(room.occupancy.quality)} />
          )}
          {room.contact !== null && (
            <Cell icon={room.contact.open ? 'doorOpen' : 'door'} word={yesNo(room.contact.open, 'Open', 'Closed')} name="Door"
              at={room.contact.at} stale={isDoubtful(room.contact.quality)} warn={openLong} />
          )}
        </span>
      )}
    </div>
  )
})

function Cell({ icon, word, name, at, stale, glow = false, warn = false }: {
  icon: IconName; word: string; name: string; at: string | null; stale: boolean; glow?: boolean; warn?: boolean
}): ReactNode {
  return (
    <span className={styles['cell']} title={`${name}: ${word}`} data-testid={`tile-${name.toLowerCase()}`}>
      <span className={glow ? styles['glow'] : warn ? `${styles['icon']} ${styles['low']}` : styles['icon']}>
        <Icon name={icon} />
      </span>
      <span className={warn ? `${styles['value']} ${styles['low']}` : styles['value']}>
        <VisuallyHidden>{name} </VisuallyHidden>
        {word}
      </span>
      <Age at={at} stale={stale} />
    </span>
  )
}

const LOCK_MUTE = 'This lock tells what happened at it, not whether it is locked now.'
const lockTone = (state: string): string => (state === 'unlocked' || state === 'not_fully_locked' ? (styles['unlocked'] ?? '') : '')

function battery(percent: number | null): ReactNode {
  if (percent === null) return null
  return (
    <span className={`${styles['battery']} ${isBatteryLow(percent) ? styles['low'] : ''}`} data-testid="tile-battery">
      <BatteryIcon percent={percent} />
      {saidPercent(percent)}
    </span>
  )
}

export const degrees = (value: number | null): string => (value === null ? '–' : `${value.toFixed(1)}°`)
export const yesNo = (value: boolean | null, yes: string, no: string): string => (value === null ? 'Unknown' : value ? yes : no)

const STAY_LOOK: Record<string, [Tone, IconName]> = {
  in_house: ['good', 'bed'],
  checked_in: ['good', 'bed'],
  ready: ['info', 'arrow'],
  planned: ['idle', 'clock'],
}

function stayBadge(room: Room): ReactNode {
  if (room.kind !== 'guest_room' || room.stay === null) return null
  const [tone, icon] = STAY_LOOK[room.stay.state] ?? ['idle', 'bed']
  return <StateBadge tone={tone} icon={icon}>{saidStay(room.stay.state)}</StateBadge>
}

/** The tile in one breath for a screen reader. Ages are left out: a name that changes each second is no name. */
function spoken(room: Room, attention: string, held: boolean): string {
  const parts = ['']
  if (room.kind === 'guest_room') parts.push(room.stay === null ? 'vacant' : `${saidStay(room.stay.state)}: ${room.stay.guest_name || 'name not held'}`)
  if (isInHouse(room.stay?.state) && room.occupancy) parts.push(yesNo(room.occupancy.occupied, 'guest present', 'nobody present'))
  if (room.lock && room.lock.state !== 'unknown') parts.push(saidLock(room.lock.state))
  if (room.lock?.last_event) parts.push(`last at the door: ${saidEvent(room.lock.last_event.event)}`)
  if (room.climate) parts.push(`${degrees(room.climate.temperature)} C`)
  if (attention !== '') parts.push(`attention: ${attention}`)
  if (held) parts.push('last known, not current')
  return parts.join(', ')
}

const CHANGE_MARK_MS = 1_400

/** True for a moment after the room's state changed, never on first sight. A new age alone is no change. */
function useChangeMark(room: Room): boolean {
  const said = JSON.stringify(room, (key, value: unknown) => (key === 'at' || key === 'temperature' ? undefined : value))
  const before = useRef(said)
  const [marked, mark] = useState(false)
  useEffect(() => {
    if (before.current === said) return
    before.current = said
    mark(true)
    const timer = setTimeout(() => mark(false), CHANGE_MARK_MS)
    return () => clearTimeout(timer)
  }, [said])
  return marked
}
