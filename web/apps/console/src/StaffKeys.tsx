/** Shift keys, keys for the safe, and taking a person's keys away: an administrator's. */
import { Button, Checkbox, TextInput } from '@mantine/core'
import { type FormEvent, type ReactNode, useEffect, useRef, useState } from 'react'
import styles from './Arrivals.module.css'
import { MadeLink } from './EmergencyKeys'
import type { House } from './Keys'
import keyStyles from './Keys.module.css'
import { type CommonZone, keyLink, Question, roomsOf, wrongPerson, wrongPoint, wrongReason, zonesOf } from './keyAsking'
import { asked, inWords } from './passkeys'

const HOUR_MS = 3_600_000
const SHIFT_HOURS_MOST = 24
const SAFE_DAYS_MOST = 7

const wrongHours = (hours: number): string | null => (hours >= 1 && hours <= SHIFT_HOURS_MOST ? null : 'A shift key lasts 1 to 24 hours.')

type Read = (name: string) => string
type Wanted = { wrong: string } | { path: string; body: Record<string, unknown> }

export function StaffKeys({ house, onDone }: { house: House; onDone: () => void }) {
  const noRooms = 'Name rooms of this house, such as 101, 102.'
  return (
    <section aria-labelledby="staff" className={styles['card']} data-testid="staff-keys">
      <h2 id="staff" className={styles['heading']}>Staff keys and the safe</h2>
      <Order
        title="Give a shift key" send="Make the key" onDone={onDone}
        wanted={(read) => {
          const [rooms, hours] = [roomsOf(read('rooms'), house.rooms), Number(read('hours'))]
          const wrong = wrongPerson(read('person')) ?? (rooms === null ? noRooms : null) ?? wrongPoint(read('phone')) ?? wrongHours(hours)
          if (wrong !== null) return { wrong }
          return { path: `${house.at}/staff-keys`, body: { person: read('person'), rooms, phone_public_key: read('phone'), not_after_ms: Date.now() + hours * HOUR_MS, user_verified: read('verified') === 'on' } }
        }}
      >
        <TextInput name="person" label="For whom" placeholder="maria" maxLength={40} autoComplete="off" />
        <TextInput name="rooms" label="Rooms of the section" placeholder="101, 102" autoComplete="off" />
        <TextInput name="phone" label="Code of the phone" maxLength={66} autoComplete="off" spellCheck={false} />
        <TextInput name="hours" label="Hours" type="number" min={1} max={SHIFT_HOURS_MOST} defaultValue="8" />
        <Checkbox name="verified" defaultChecked label="The phone asks for face, finger or code at each door" />
      </Order>
      <Order
        title="Give a key that holds doors open" send="Make the key" onDone={onDone}
        wanted={(read) => {
          const [zones, hours] = [zonesOf(read('zones')), Number(read('hours'))]
          const wrong = wrongPerson(read('person')) ?? (zones === null ? 'Choose the common doors.' : null) ?? wrongPoint(read('phone')) ?? wrongHours(hours)
          if (wrong !== null) return { wrong }
          return { path: `${house.at}/staff-keys`, body: { person: read('person'), zones, phone_public_key: read('phone'), not_after_ms: Date.now() + hours * HOUR_MS, user_verified: read('verified') === 'on', passage: true } }
        }}
      >
        <p className={styles['dim']}>For common doors alone, such as a lobby: whoever has it may let them stand unlocked until the key ends, and is recorded at each door.</p>
        <TextInput name="person" label="For whom" placeholder="otto" maxLength={40} autoComplete="off" />
        <CommonDoors house={house} />
        <TextInput name="phone" label="Code of the phone" maxLength={66} autoComplete="off" spellCheck={false} />
        <TextInput name="hours" label="Hours" type="number" min={1} max={SHIFT_HOURS_MOST} defaultValue="8" />
        <Checkbox name="verified" defaultChecked label="The phone asks for face, finger or code at each door" />
      </Order>
      <Order
        title="Take a person’s keys away" send="Take the keys away" isHarsh onDone={onDone}
        wanted={(read) => {
          const wrong = wrongPerson(read('person')) ?? wrongReason(read('reason'))
          return wrong !== null ? { wrong } : { path: `${house.at}/withdrawn-staff-keys`, body: { person: read('person'), reason: read('reason') } }
        }}
      >
        <TextInput name="person" label="Whose" placeholder="maria" maxLength={40} autoComplete="off" />
        <TextInput name="reason" label="Why" maxLength={200} />
      </Order>
      <Order
        title="Make a key for the safe" send="Make the key" onDone={onDone}
        wanted={(read) => {
          const [rooms, days, hours] = [roomsOf(read('room'), house.rooms), Number(read('days')), Number(read('hours'))]
          const wrong = (rooms?.length === 1 ? null : 'Name one room of this house.') ?? wrongPoint(read('phone')) ?? (days >= 1 && days <= SAFE_DAYS_MOST ? null : 'It lies ready for 1 to 7 days.') ?? (hours >= 1 && hours <= 72 ? null : 'It opens for 1 to 72 hours.')
          if (wrong !== null) return { wrong }
          return { path: `${house.at}/failsafe-keys`, body: { room: rooms?.[0], phone_public_key: read('phone'), not_after_ms: Date.now() + days * 24 * HOUR_MS - 60_000, life_hours: hours } }
        }}
      >
        <p className={styles['dim']}>For an outage: its hours begin with its first opening, and a guest who checks in meanwhile ends it. The room must be free.</p>
        <TextInput name="room" label="Room" placeholder="101" autoComplete="off" />
        <TextInput name="phone" label="Code of the phone or token" maxLength={66} autoComplete="off" spellCheck={false} />
        <TextInput name="days" label="Days that it lies ready" type="number" min={1} max={SAFE_DAYS_MOST} defaultValue="1" />
        <TextInput name="hours" label="Hours from its first opening" type="number" min={1} max={72} defaultValue="24" />
      </Order>
    </section>
  )
}

/** The common doors to choose from. Doors of one zone go together: whoever has the zone opens all of them. */
function CommonDoors({ house }: { house: House }) {
  const [zones, setZones] = useState<readonly CommonZone[] | string | null>(null)
  useEffect(() => {
    let isShown = true
    const told = asked<{ zones: CommonZone[] }>('GET', `${house.at}/common-doors`).then((answer) => answer.zones).catch(inWords)
    void told.then((answer) => { if (isShown) setZones(answer) })
    return () => { isShown = false }
  }, [house.at])
  if (typeof zones === 'string') return <p role="alert" className={styles['problem']}>{zones}</p>
  return (
    <fieldset className={keyStyles['choices']} aria-busy={zones === null}>
      <legend>Which common doors?</legend>
      {zones?.length === 0 && <p className={styles['dim']}>This house has none.</p>}
      {zones?.map((zone) => <Checkbox key={zone.zones} name="zones" value={zone.zones} label={zone.doors.join(', ')} />)}
    </fieldset>
  )
}

/** One order: its fields are looked at before anything is sent, and what comes back is a key, or a word. */
function Order({ title, send, isHarsh = false, wanted, onDone, children }: { title: string; send: string; isHarsh?: boolean; wanted: (read: Read) => Wanted; onDone: () => void; children: ReactNode }) {
  const [problem, setProblem] = useState<string | null>(null)
  const [link, setLink] = useState<string | null>(null)
  const [said, setSaid] = useState<string | null>(null)
  const [isAsking, setAsking] = useState(false)
  const question = useRef(new Question())

  async function order(event: FormEvent<HTMLFormElement>): Promise<void> {
    event.preventDefault()
    const read = new FormData(event.currentTarget)
    const asking = wanted((name) => read.getAll(name).map(String).join(' ').trim())
    setProblem('wrong' in asking ? asking.wrong : null)
    if ('wrong' in asking) return
    setAsking(true)
    setSaid(null)
    const done = await question.current.ask<{ bundle?: unknown; confirmed?: number; doors?: number }>(asking.path, asking.body).catch(inWords)
    setAsking(false)
    if (typeof done === 'string') return setProblem(done)
    setLink(done.bundle === undefined ? null : keyLink(done.bundle, document.baseURI))
    setSaid(done.bundle === undefined ? `Withdrawn. ${done.confirmed ?? 0} of ${done.doors ?? 0} doors know it by now.` : null)
    onDone()
  }

  return (
    <details>
      <summary>{title}</summary>
      <form onSubmit={(event) => void order(event)} className={keyStyles['form']} aria-label={title}>
        {children}
        {problem !== null && <p role="alert" className={styles['problem']}>{problem}</p>}
        <Button type="submit" loading={isAsking} {...(isHarsh ? { color: 'red' } : {})}>{send}</Button>
      </form>
      {link !== null && <MadeLink link={link} />}
      {said !== null && <p role="status" className={styles['dim']}>{said}</p>}
    </details>
  )
}
