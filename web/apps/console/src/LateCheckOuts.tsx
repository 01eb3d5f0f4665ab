/** The guests who ask to leave later and wait for the desk: who has the room next, granted, or refused with a reason that the guest reads. */
import type { WaitingLateWish } from '@innkeeper/api'
import { Icon } from '@innkeeper/ui'
import { Button, TextInput } from '@mantine/core'
import { type FormEvent, useCallback, useEffect, useState } from 'react'
import styles from './Arrivals.module.css'
import { asked, inWords, Refused } from './passkeys'

const ASK_EACH_MS = 5_000

/** Nothing is there while nobody waits, and where the reader may not answer. */
export function LateCheckOuts({ property, zone, onDone }: { property: string; zone: string; onDone: () => void }) {
  const [wishes, setWishes] = useState<WaitingLateWish[]>([])
  const here = `api/v1/properties/${encodeURIComponent(property)}`
  const read = useCallback(async () => {
    try {
      setWishes((await asked<{ wishes: WaitingLateWish[] }>('GET', `${here}/late-check-outs`)).wishes)
    } catch (error) {
      if (!(error instanceof Refused)) throw error // the page around this says that the cloud does not answer
    }
  }, [here])
  useEffect(() => {
    void read()
    const timer = setInterval(() => { if (!document.hidden) void read() }, ASK_EACH_MS)
    return () => clearInterval(timer)
  }, [read])
  if (wishes.length === 0) return null
  const done = (): void => { void read(); onDone() }
  return (
    <section aria-labelledby="late" data-testid="late-check-outs">
      <h2 id="late" className={styles['heading']}>Late check-outs asked for <span className={styles['count']}>{wishes.length}</span></h2>
      <ul className={styles['list']}>
        {wishes.map((each) => <Asked key={each.wish} address={`${here}/stays/${encodeURIComponent(each.stay)}/late-check-out/answer`} late={each} zone={zone} onDone={done} />)}
      </ul>
    </section>
  )
}

function Asked({ address, late, zone, onDone }: { address: string; late: WaitingLateWish; zone: string; onDone: () => void }) {
  const [problem, setProblem] = useState<string | null>(null)
  const [isAsking, setAsking] = useState(false)
  const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', timeZone: zone })
  const day = new Intl.DateTimeFormat('en-GB', { weekday: 'short', day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', timeZone: zone })
  const { next_from: nextFrom } = late
  const isPromised = nextFrom !== null && Date.parse(nextFrom) < Date.parse(late.until)

  async function say(granted: boolean, reason: string | null): Promise<void> {
    setAsking(true)
    setProblem(await asked('POST', address, { wish: late.wish, granted, reason }).then(() => null, inWords))
    setAsking(false)
    onDone()
  }
  function refuse(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault()
    const reason = String(new FormData(event.currentTarget).get('reason')).trim()
    if (reason.length < 3) return setProblem('Say in a few words why not: the guest reads it.')
    void say(false, reason)
  }

  return (
    <li className={styles['card']} data-late={late.stay}>
      <div className={styles['line']}>
        <strong>{late.guest_name}</strong>
        <span>{late.room === null ? 'no room' : `Room ${late.room}`} · leaves {day.format(new Date(late.ends_at))}</span>
      </div>
      <p>Asks to stay until <strong>{clock.format(new Date(late.until))}</strong></p>
      <p className={isPromised ? styles['disagreed'] : styles['dim']}>
        {isPromised && <Icon name="warning" />} {nextFrom === null ? 'Nobody has the room after that yet' : `The room’s next guest is due ${day.format(new Date(nextFrom))}${isPromised ? ': give that one another room first' : ''}`}
      </p>
      <div className={styles['actions']}>
        <Button disabled={isPromised} loading={isAsking} onClick={() => void say(true, null)}>Grant until {clock.format(new Date(late.until))}</Button>
      </div>
      <form className={styles['step']} onSubmit={refuse}>
        <TextInput name="reason" label="Why not, for the guest" maxLength={300} />
        <Button type="submit" variant="default" loading={isAsking}>Refuse</Button>
        {problem !== null && <p className={styles['problem']} role="alert">{problem}</p>}
      </form>
    </li>
  )
}
