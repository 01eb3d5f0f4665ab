/** Doors with locks of other makers: what the guest has for each, how sure that is, and what there is to do. */
import { Icon, type IconName } from '@innkeeper/ui/icons'
import type { OpensAfar, VendorKey } from '@innkeeper/door'
import type { Guest, GuestState } from './guest'
import { type OtherKeys, type OtherStanding, standingOfKey } from './others'
import { RemoteOpening } from './RemoteOpening'
import { remoteDoorsOf } from './remoteOpening'
import { useSurroundings } from './surroundings'
import { saidDoor, type Words } from './words'

const LOOKS: Record<OtherStanding, { tone: 'good' | 'warn' | 'bad' | 'info'; icon: IconName }> = {
  pin: { tone: 'good', icon: 'lock' },
  card: { tone: 'good', icon: 'lock' },
  mobile: { tone: 'good', icon: 'lock' },
  at_desk: { tone: 'info', icon: 'person' },
  under_way: { tone: 'info', icon: 'clock' },
  refused: { tone: 'warn', icon: 'warning' },
  over: { tone: 'warn', icon: 'clock' },
}

export function OtherDoors({ guest, state, others }: { guest: Guest; state: GuestState; others: OtherKeys }) {
  const { words } = useSurroundings()
  const said = words.others
  const mayAsk = others.from !== null && others.keys.some((key) => ['at_desk', 'under_way', 'refused'].includes(standingOfKey(key, state.nowMs)))
  return (
    <section className="holding" data-others={others.id} aria-label={said.title}>
      <ul className="doors" aria-label={said.title}>
        {others.keys.map((key) => <OtherDoor key={`${key.system} ${key.rooms.join()}`} guest={guest} state={state} others={others} vendorKey={key} />)}
      </ul>
      {mayAsk && (
        <button type="button" className="quiet" disabled={state.isLookingAgain} onClick={() => void guest.lookAgain(others)}>
          {state.isLookingAgain ? said.looking : said.lookAgain}
        </button>
      )}
    </section>
  )
}

function OtherDoor({ guest, state, others, vendorKey: key }: { guest: Guest; state: GuestState; others: OtherKeys; vendorKey: VendorKey }) {
  const { words, time } = useSurroundings()
  const said = words.others
  const standing = standingOfKey(key, state.nowMs)
  const { tone, icon } = LOOKS[standing]
  const isUsable = key.state === 'made' && standing !== 'over'
  const isSure = key.truth !== 'accepted-by-vendor' // taken by a server is not yet known to a lock
  const rooms = key.rooms.map((room) => saidDoor(room, words)).join(', ')
  const afar = remoteDoorsOf(key, others.from, state.nowMs)
  return (
    <li className="door door-other" data-rooms={key.rooms.join(' ')} data-standing={standing} data-truth={key.truth ?? undefined}>
      <div className="door-head">
        <span className="door-icon"><Icon name="door" size={24} /></span>
        <h2 className="door-name">{rooms}</h2>
      </div>
      {isUsable && key.medium === 'pin' && key.code !== null && (
        <p className="pin">
          <span className="pin-label">{said.pin}</span>
          <output className="pin-digits" dir="ltr" aria-label={`${said.pin} ${[...key.code].join(' ')}`} data-testid="pin">{key.code}</output>
        </p>
      )}
      <div className={`outcome outcome-${isUsable && !isSure ? 'info' : tone}`}>
        <span className="outcome-icon"><Icon name={icon} size={22} /></span>
        <div>
          <p className="outcome-title">{said.has[standing]}</p>
          <p className="outcome-text">{said.does[standing]}</p>
          {isUsable && key.truth !== null && <p className="outcome-hint" data-testid="truth">{said.truths[key.truth]}</p>}
          {isUsable && <p className="outcome-hint">{words.until(time(key.notAfterMs, state.nowMs))}</p>}
        </div>
      </div>
      {afar.map((door) => <RemoteOpening key={door.door} guest={guest} state={state} others={others} vendorKey={key} door={door} name={nameOf(door, afar, words)} />)}
    </li>
  )
}

/** What a door is called: by its room, and by its number there where the room has several. */
function nameOf(door: OpensAfar['doors'][number], doors: OpensAfar['doors'], words: Words): string {
  const beside = doors.filter(({ room }) => room === door.room)
  const room = saidDoor(door.room, words)
  return beside.length === 1 ? room : `${room} (${beside.indexOf(door) + 1})`
}
