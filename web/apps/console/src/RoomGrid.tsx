import type { Room } from '@innkeeper/api'
import { countLooks, Icon, type IconName, isInHouse, type Look, needsOf, RoomTile, saidFloor } from '@innkeeper/ui'
import { TextInput } from '@mantine/core'
import { type KeyboardEvent, useMemo, useRef, useState } from 'react'
import { step } from './gridSteps'
import styles from './RoomGrid.module.css'

interface RoomGridProps {
  rooms: ReadonlyMap<string, Room>
  order: readonly string[]
  looks: readonly Look[]
  opened: string | null
  onOpen: (id: string) => void
}

type Filter = 'all' | 'attention' | 'in_house' | 'arriving' | 'vacant'

const FILTERS: { id: Filter; word: string; icon?: IconName }[] = [
  { id: 'all', word: 'All' },
  { id: 'attention', word: 'Needs a look', icon: 'warning' },
  { id: 'in_house', word: 'In house' },
  { id: 'arriving', word: 'Arriving' },
  { id: 'vacant', word: 'Vacant' },
]

/** Every room by floor. Tab enters at one tile, the arrows walk as the eye does, Enter opens. */
export function RoomGrid({ rooms, order, looks, opened, onOpen }: RoomGridProps) {
  const [filter, setFilter] = useState<Filter>('all')
  const [sought, setSought] = useState('')
  const [stood, setStood] = useState<string | null>(null)
  const ground = useRef<HTMLDivElement>(null)
  const needs = useMemo(() => needsOf(looks), [looks])
  const attention = useMemo(() => new Set(looks.flatMap((look) => look.rooms)), [looks])

  const counts = useMemo(() => {
    const count = (which: Filter): number => order.filter((id) => passes(rooms.get(id), which, attention)).length
    const counted = Object.fromEntries(FILTERS.map(({ id }) => [id, count(id)])) as Record<Filter, number>
    return { ...counted, attention: countLooks(looks) } // the house's own needs a look too
  }, [rooms, order, attention, looks])

  const shown = useMemo(() => {
    const words = sought.trim().toLocaleLowerCase()
    return order.filter((id) => {
      const room = rooms.get(id)
      return passes(room, filter, attention) && (words === '' || says(room, words))
    })
  }, [rooms, order, filter, attention, sought])

  const floors = useMemo(() => {
    const found = new Map<number | null, string[]>()
    for (const id of shown) {
      const floor = rooms.get(id)?.floor ?? null
      const here = found.get(floor)
      if (here === undefined) found.set(floor, [id])
      else here.push(id)
    }
    return [...found]
  }, [rooms, shown])

  const entry = stood !== null && shown.includes(stood) ? stood : shown[0]

  const walk = (event: KeyboardEvent): void => {
    const from = (event.target as HTMLElement).closest<HTMLElement>('[data-room]')
    if (from === null || ground.current === null || event.altKey || event.ctrlKey || event.metaKey) return
    const tiles = [...ground.current.querySelectorAll<HTMLElement>('[data-room]')]
    const to = step(event.key, tiles.map((tile) => tile.getBoundingClientRect()), tiles.indexOf(from))
    if (to === null) return
    event.preventDefault()
    tiles[to]?.querySelector('button')?.focus()
  }

  return (
    <section className={styles['rooms']} aria-label="Rooms" id="rooms" data-testid="rooms">
      <div className={styles['tools']}>
        <div className={styles['filters']} role="group" aria-label="Which rooms">
          {FILTERS.map(({ id, word, icon }) => (
            <button key={id} type="button" className={styles['filter']} aria-pressed={filter === id} data-filter={id}
              data-some={(id === 'attention' && counts[id] > 0) || undefined} onClick={() => setFilter(id)}>
              {icon !== undefined && <Icon name={icon} size={14} />}
              {word} <span className={styles['count']}>{counts[id]}</span>
            </button>
          ))}
        </div>
        <TextInput className={styles['search'] ?? ''} size="sm" aria-label="Find a room or a guest" placeholder="Room or guest" type="search"
          leftSection={<Icon name="search" />} value={sought} onChange={(event) => setSought(event.currentTarget.value)} />
      </div>
      <div ref={ground} onKeyDown={walk}>
        {floors.map(([floor, ids]) => (
          <section key={floor} className={styles['floor']} aria-labelledby={`floor-${floor}`}>
            <h2 className={styles['floorName']} id={`floor-${floor}`}>
              {saidFloor(floor)}
              <span className={styles['floorCount']}>{ids.length === 1 ? '1 room' : `${ids.length} rooms`}</span>
            </h2>
            <ul className={styles['grid']}>
              {ids.map((id) => {
                const room = rooms.get(id)
                return (
                  room !== undefined && (
                    <li key={id}>
                      <RoomTile room={room} attention={needs.get(id) ?? ''} selected={opened === id} tabIndex={entry === id ? 0 : -1} onOpen={onOpen} onFocus={setStood} />
                    </li>
                  )
                )
              })}
            </ul>
          </section>
        ))}
        {shown.length === 0 && (
          <p className={styles['empty']}>
            {order.length === 0
              ? 'This property has told of no rooms yet.'
              : filter === 'attention' && sought === ''
                ? looks.length > 0 ? 'No room needs a look; what does is the house’s own, above.' : 'Nothing needs a look. The line, batteries, locks, doors and sensors are as they should be.'
                : 'No room fits.'}
          </p>
        )}
      </div>
    </section>
  )
}

function passes(room: Room | undefined, filter: Filter, attention: ReadonlySet<string>): boolean {
  if (room === undefined) return false
  if (filter === 'all') return true
  if (filter === 'attention') return attention.has(room.id)
  if (room.kind !== 'guest_room') return false
  if (filter === 'in_house') return isInHouse(room.stay?.state)
  if (filter === 'arriving') return room.stay?.state === 'ready' || room.stay?.state === 'planned'
  return room.stay === null
}

const says = (room: Room | undefined, words: string): boolean =>
  room !== undefined &&
  ([room.id, room.type ?? '', room.stay?.guest_name ?? ''].some((text) => text.toLocaleLowerCase().includes(words)) || room.stay?.id === words)
