/** The page of keys of a hotel: lost phones, sealed rooms, emergency keys, shift keys, and what doors have still to hear. */
import type { Property } from '@innkeeper/api'
import { Icon } from '@innkeeper/ui'
import { Button, Select, TextInput } from '@mantine/core'
import { type FormEvent, useCallback, useEffect, useRef, useState } from 'react'
import styles from './Arrivals.module.css'
import consoleStyles from './console.module.css'
import { EmergencyKeys } from './EmergencyKeys'
import { Header } from './Header'
import { type Closings, Question, type Role, type StayPhone, wrongReason } from './keyAsking'
import keyStyles from './Keys.module.css'
import { Notice } from './Notices'
import { asked, inWords, Refused } from './passkeys'
import { SignIn } from './SignIn'
import { StaffKeys } from './StaffKeys'

const ASK_EACH_MS = 15_000
const EVERY = 'every'

interface Stay {
  id: string
  state: string
  room: string | null
  guest_name: string
}

export interface House {
  /** The address of its routes. */
  at: string
  rooms: readonly string[]
  time: (iso: string | null) => string
}

export function KeysPage({ property }: { property: Property }) {
  const at = `api/v1/properties/${encodeURIComponent(property.id)}`
  const [role, setRole] = useState<Role | null>(null)
  const [rooms, setRooms] = useState<string[]>([])
  const [stays, setStays] = useState<Stay[]>([])
  const [refused, setRefused] = useState<Refused | null>(null)
  const [changes, setChanges] = useState(0)
  const changed = useCallback(() => setChanges((before) => before + 1), [])

  const read = useCallback(async () => {
    try {
      const [me, listed, inHouse] = await Promise.all([
        asked<{ role: Role }>('GET', 'api/v1/me'),
        asked<{ rooms: { id: string; kind: string }[] }>('GET', `${at}/rooms`),
        asked<{ stays: Stay[] }>('GET', `${at}/stays`),
      ])
      setRole(me.role)
      setRooms(listed.rooms.map(({ id }) => id))
      setStays(inHouse.stays.filter(({ state }) => state === 'in_house' || state === 'ready'))
      setRefused(null)
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      setRefused(error)
    }
  }, [at])
  useEffect(() => void read(), [read])
  useEffect(() => { document.title = `Keys · ${property.name} · Innkeeper` }, [property.name])

  const moment = new Intl.DateTimeFormat('en-GB', { weekday: 'short', hour: '2-digit', minute: '2-digit', timeZone: property.zone })
  const house: House = { at, rooms, time: (iso) => (iso === null ? 'never' : moment.format(new Date(iso))) }
  if (refused?.status === 401) return <><Header title={property.name} back /><main className={consoleStyles['main']}><SignIn /></main></>
  return (
    <>
      <Header title={property.name} detail="Keys" back />
      <main className={consoleStyles['main']} data-testid="keys" aria-busy={role === null && refused === null}>
        {refused !== null && role === null && <Notice title="No keys here" icon="lock"><p>{refused.message}</p></Notice>}
        {role === 'viewer' && <Notice title="Keys are not yours to change" icon="lock"><p>Your account reads; the front desk and officers act here.</p></Notice>}
        {(role === 'staff' || role === 'admin') && (
          <div className={styles['columns']}>
            <div className={keyStyles['stack']}>
              <LostPhones house={house} stays={stays} onDone={changed} />
              <Rooms house={house} mayShut={role === 'admin'} onDone={changed} />
              <Heard house={house} changes={changes} />
            </div>
            <div className={keyStyles['stack']}>
              <EmergencyKeys house={house} changes={changes} onDone={changed} />
              {role === 'admin' && <StaffKeys house={house} onDone={changed} />}
            </div>
          </div>
        )}
      </main>
    </>
  )
}

/** One phone's key is taken away; the others of the stay stay. */
function LostPhones({ house, stays, onDone }: { house: House; stays: readonly Stay[]; onDone: () => void }) {
  const [stay, setStay] = useState<string | null>(null)
  const [phones, setPhones] = useState<StayPhone[] | null>(null)
  const [said, setSaid] = useState<string | null>(null)
  const [problem, setProblem] = useState<string | null>(null)
  const [isAsking, setAsking] = useState(false)
  const question = useRef(new Question())
  const path = stay === null ? null : `${house.at}/stays/${encodeURIComponent(stay)}`

  async function look(which: string | null): Promise<void> {
    setStay(which)
    setPhones(null)
    setProblem(null)
    setSaid(null)
    if (which === null) return
    setAsking(true)
    const answer = await asked<{ phones: StayPhone[] }>('GET', `${house.at}/stays/${encodeURIComponent(which)}/phones`).catch(inWords)
    setAsking(false)
    if (typeof answer === 'string') setProblem(answer)
    else setPhones(answer?.phones ?? [])
  }

  async function take(event: FormEvent<HTMLFormElement>): Promise<void> {
    event.preventDefault()
    const form = new FormData(event.currentTarget)
    const [reason, which] = [String(form.get('reason')), String(form.get('phone') ?? '')]
    const wrong = which === '' ? 'Choose whose key is lost.' : wrongReason(reason)
    setProblem(wrong)
    if (wrong !== null || path === null) return
    setAsking(true)
    const body = { reason: reason.trim(), ...(which === EVERY ? {} : { phone_public_key: which }) }
    const done = await question.current.ask<{ grants: string[]; lock_systems: string[]; doors: number; confirmed: number }>(`${path}/withdrawn-keys`, body).catch(inWords)
    setAsking(false)
    if (done === null || typeof done === 'string') return setProblem(done)
    setSaid(`Withdrawn. ${done.confirmed} of ${done.doors} doors know it by now${done.lock_systems.length > 0 ? `; also in ${done.lock_systems.join(', ')}` : ''}. That phone needs a key of its own anew.`)
    onDone()
    const again = await asked<{ phones: StayPhone[] }>('GET', `${path}/phones`).catch(() => null)
    if (again !== null) setPhones(again.phones)
  }

  return (
    <section aria-labelledby="lost" className={styles['card']} data-testid="lost-phones">
      <h2 id="lost" className={styles['heading']}>A lost phone</h2>
      <Select
        label="Stay" searchable clearable value={stay} onChange={(value) => void look(value)} placeholder="Name or room"
        data={stays.map(({ id, guest_name, room }) => ({ value: id, label: `${guest_name}${room === null ? '' : `, room ${room}`}` }))}
      />
      {phones !== null && (
        <form onSubmit={(event) => void take(event)} className={keyStyles['form']}>
          <fieldset className={keyStyles['choices']}>
            <legend>Whose key is lost?</legend>
            {phones.map((phone, number) => (
              <label key={phone.phone} data-phone={phone.phone}>
                <input type="radio" name="phone" value={phone.phone} disabled={phone.withdrawn} />
                <span>{phone.join ? `Phone ${number + 1}, joined later` : 'The first phone'}, ends in <code>{phone.phone.slice(-6)}</code>, key until {house.time(phone.not_after)}{phone.withdrawn && ' (withdrawn)'}</span>
              </label>
            ))}
            <label><input type="radio" name="phone" value={EVERY} /><span>Every phone of this stay</span></label>
          </fieldset>
          <TextInput name="reason" label="Why" maxLength={200} />
          <Button type="submit" color="red" loading={isAsking}>Take the key away</Button>
        </form>
      )}
      {said !== null && <p role="status" className={styles['dim']}>{said}</p>}
      {problem !== null && <p role="alert" className={styles['problem']}>{problem}</p>}
    </section>
  )
}

/** What ends every key of a room, and what shuts it to everybody. */
function Rooms({ house, mayShut, onDone }: { house: House; mayShut: boolean; onDone: () => void }) {
  const [room, setRoom] = useState<string | null>(null)
  const [said, setSaid] = useState<string | null>(null)
  const [problem, setProblem] = useState<string | null>(null)
  const [isAsking, setAsking] = useState(false)
  const question = useRef(new Question())

  async function order(event: FormEvent<HTMLFormElement>): Promise<void> {
    event.preventDefault()
    const submitter = (event.nativeEvent as SubmitEvent).submitter as HTMLButtonElement | null
    const what = submitter?.value ?? 'inhibit'
    const reason = String(new FormData(event.currentTarget).get('reason'))
    const wrong = room === null ? 'Choose a room.' : wrongReason(reason)
    setProblem(wrong)
    setSaid(null)
    if (wrong !== null || room === null) return
    setAsking(true)
    const path = `${house.at}/rooms/${encodeURIComponent(room)}/${what === 'inhibit' ? 'inhibition' : 'lockout'}`
    const body = { reason: reason.trim(), ...(what === 'inhibit' ? {} : { sealed: what === 'seal' }) }
    const done = await question.current.ask<{ doors: string[] }>(path, body).catch(inWords)
    setAsking(false)
    if (done === null || typeof done === 'string') return setProblem(done)
    const sentences: Record<string, string> = {
      inhibit: `Every key of room ${room} ends. Who is in house there asks for a new one.`,
      seal: `Room ${room} is being sealed: only an emergency key opens it. It is done when its door has confirmed it, below.`,
      lift: `The seal of room ${room} is being lifted. It is done when its door has confirmed it, below.`,
    }
    setSaid(sentences[what] ?? null)
    onDone()
  }

  return (
    <section aria-labelledby="rooms" className={styles['card']} data-testid="rooms-closing">
      <h2 id="rooms" className={styles['heading']}>A room</h2>
      <form onSubmit={(event) => void order(event)} className={keyStyles['form']}>
        <Select label="Room" searchable value={room} onChange={setRoom} data={[...house.rooms]} placeholder="101" />
        <TextInput name="reason" label="Why" maxLength={200} />
        <div className={styles['actions']}>
          <Button type="submit" name="what" value="inhibit" variant="default" loading={isAsking}>End every key of it</Button>
          {mayShut && <Button type="submit" name="what" value="seal" color="red" loading={isAsking}>Seal it</Button>}
          {mayShut && <Button type="submit" name="what" value="lift" variant="default" loading={isAsking}>Lift the seal</Button>}
        </div>
      </form>
      {!mayShut && <p className={styles['dim']}>Sealing a room is for administrators.</p>}
      {said !== null && <p role="status" className={styles['dim']}>{said}</p>}
      {problem !== null && <p role="alert" className={styles['problem']}>{problem}</p>}
    </section>
  )
}

/** What is withdrawn and sealed, and which doors have confirmed it: never shown as done before they did. */
function Heard({ house, changes }: { house: House; changes: number }) {
  const [closings, setClosings] = useState<Closings | null>(null)
  const [problem, setProblem] = useState<string | null>(null)
  const { at } = house
  useEffect(() => {
    let isHere = true
    const read = async (): Promise<void> => {
      const told = await asked<Closings>('GET', `${at}/closings`).catch(inWords)
      if (!isHere) return
      setProblem(typeof told === 'string' ? told : null)
      if (told !== null && typeof told !== 'string') setClosings(told)
    }
    void read()
    const timer = setInterval(() => { if (!document.hidden) void read() }, ASK_EACH_MS)
    return () => { isHere = false; clearInterval(timer) }
  }, [at, changes])
  return (
    <section aria-labelledby="heard" className={styles['card']} data-testid="closings">
      <h2 id="heard" className={styles['heading']}>What the doors know</h2>
      {problem !== null && <p role="alert" className={styles['problem']}>{problem}{closings !== null && ' What is below is what was last received.'}</p>}
      {closings !== null && (
        <>
          {!closings.signed && <p className={styles['asked']}><Icon name="clock" /> The building’s clock is not sound: the list is signed, and told, once it is.</p>}
          <p>{closings.withdrawn.length === 0 ? 'No key is withdrawn.' : `${closings.withdrawn.length} withdrawn ${closings.withdrawn.length === 1 ? 'key is' : 'keys are'} on the list. ${closings.doors - closings.waiting} of ${closings.doors} doors have confirmed it.`}</p>
          {closings.unlisted > 0 && (
            <p role="status" className={styles['problem']} data-testid="unlisted">
              {closings.unlisted === 1 ? 'One key of a guest who left early finds' : `${closings.unlisted} keys of guests who left early find`} no place on the list: common doors let {closings.unlisted === 1 ? 'it' : 'them'} in until {house.time(closings.unlisted_until)} at most. To end that at once the building withdraws its guests’ signing key (innkeeper-edge doors-take-away issuer); every guest then asks for a new key.
            </p>
          )}
          {closings.waiting > 0 && (
            <details>
              <summary>{closings.waiting === 1 ? 'One door has' : `${closings.waiting} doors have`} still to hear of it</summary>
              <ul className={keyStyles['lines']}>
                {closings.waiting_doors.map(({ door, contact_at, unable }) => <li key={door}>{door}: last contact {house.time(contact_at)}{unable !== null && `; ${unable}`}</li>)}
              </ul>
            </details>
          )}
          <ul className={keyStyles['lines']}>
            {closings.sealed.map(({ door, room, sealed, confirmed, unable }) => (
              <li key={door} data-sealed={room} data-confirmed={confirmed}>
                <Icon name={confirmed ? 'lock' : 'clock'} size={16} /> Room {room}, {door}: {sealed ? 'sealed' : 'no longer sealed'}{confirmed ? ', confirmed by the lock' : ', not confirmed yet'}{unable !== null && `; ${unable}`}
              </li>
            ))}
          </ul>
        </>
      )}
    </section>
  )
}
