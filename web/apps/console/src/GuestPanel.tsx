/** Who comes with a stay, for the desk: his how manieth visit it is, and what he likes of a room. Asked for by hand, because whoever reads it is written down. */
import type { ArrivingGuest } from '@innkeeper/api'
import { Button, NativeSelect } from '@mantine/core'
import { type FormEvent, useState } from 'react'
import styles from './Arrivals.module.css'
import { saidVisit, WISHES, wishesOf } from './guestWords'
import { asked, inWords, Refused } from './passkeys'

export function GuestPanel({ property, address, name }: { property: string; address: string; name: string }) {
  const [guest, setGuest] = useState<ArrivingGuest | null>(null)
  const [said, setSaid] = useState<string | null>(null)
  const [isAsking, setAsking] = useState(false)

  async function open(): Promise<void> {
    setSaid(null)
    if (guest !== null) return setGuest(null)
    setAsking(true)
    try {
      setGuest(await asked<ArrivingGuest>('GET', `${address}/guest`))
    } catch (error) {
      setSaid(error instanceof Refused && error.status === 404 ? 'The PMS does not say which guest of its own this is.' : inWords(error))
    }
    setAsking(false)
  }

  async function note(event: FormEvent<HTMLFormElement>): Promise<void> {
    event.preventDefault()
    if (guest === null) return
    const wishes = wishesOf(new FormData(event.currentTarget))
    setAsking(true)
    setSaid(await asked('PUT', `api/v1/properties/${encodeURIComponent(property)}/guests/${encodeURIComponent(guest.guest)}/preferences`, wishes).then(() => 'Noted, for this stay and the next.', inWords))
    setAsking(false)
  }

  return (
    <div className={styles['link']} data-guest={guest?.guest}>
      <Button size="xs" variant="default" loading={isAsking} aria-expanded={guest !== null} onClick={() => void open()}>{`Guest profile of ${name}`}</Button>
      {guest !== null && (
        <>
          <p data-testid="visit"><strong>{guest.name ?? name}</strong>, {saidVisit(guest.visit)} visit</p>
          <form className={styles['wishes']} aria-label={`What ${name} likes`} onSubmit={(event) => void note(event)}>
            {WISHES.map(([field, label, choices]) => (
              <NativeSelect key={field} name={field} label={label} defaultValue={String(guest.preferences[field] ?? '')}
                data={[{ value: '', label: 'no wish' }, ...choices.map(([value, words]) => ({ value, label: words }))]} />
            ))}
            <Button type="submit" size="xs" variant="default" loading={isAsking}>Note it</Button>
          </form>
        </>
      )}
      {said !== null && <p role="status" className={styles['dim']}>{said}</p>}
    </div>
  )
}
