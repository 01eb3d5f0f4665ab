/** The payments of one stay, for the desk: what is held, what was taken and given back, and doing so; each thing once. */
import type { PaymentMovement, Property, StayPayment } from '@innkeeper/api'
import { Icon } from '@innkeeper/ui'
import { Button, TextInput } from '@mantine/core'
import { type FormEvent, useCallback, useEffect, useRef, useState } from 'react'
import styles from './Arrivals.module.css'
import consoleStyles from './console.module.css'
import { Header } from './Header'
import { Question } from './keyAsking'
import { minorOf, saidMoney, writtenMoney } from './money'
import { Notice } from './Notices'
import { asked, inWords, Refused } from './passkeys'
import own from './Payments.module.css'
import { arrivalsOf } from './route'
import { SignIn } from './SignIn'

const ASK_EACH_MS = 5_000

type Verb = PaymentMovement['verb']
/** What the clerk is about to ask for, before he says yes. */
interface Wish { verb: Verb; minor: number; reason: string }

const STATES: Record<string, string> = {
  asked: 'The provider is being asked', needs_guest: 'Waits for the guest', pending: 'The provider is working on it', held: 'Held on a card',
  captured: 'Taken', released: 'Let go', failed: 'Did not succeed',
}
const VERBS: Record<Verb, { name: string; done: string; ask: string }> = {
  capture: { name: 'Take', done: 'Taken', ask: 'Take' }, release: { name: 'Let go', done: 'Let go', ask: 'Let go' }, refund: { name: 'Give back', done: 'Given back', ask: 'Give back' },
}
const WHY: Record<string, string> = {
  amount_too_large: 'it is more than there is', payment_intent_unexpected_state: 'the card’s hold is not there any more', charge_not_refundable: 'nothing was taken that could be given back',
  charge_already_refunded: 'it was given back already', unanswered: 'the provider never answered, and has nothing of it', insufficient_funds: 'not enough money on the card',
  withdrawn: 'it was taken back before a second person approved it', not_approved: 'no second person approved it within a day',
  card_declined: 'the card was refused', expired_card: 'the card has expired', page_expired: 'the page was open too long', page_ended: 'it was taken care of at the desk',
}
const why = (code: string | null): string => (code === null ? 'no reason was given' : WHY[code] ?? code.replaceAll('_', ' '))
const isUnderWay = ({ state }: PaymentMovement): boolean => state === 'waiting' || state === 'asked' || state === 'unknown'

export function PaymentsPage({ property, stay }: { property: Property; stay: string }) {
  const at = `api/v1/properties/${encodeURIComponent(property.id)}/stays/${encodeURIComponent(stay)}`
  const [payments, setPayments] = useState<StayPayment[] | null>(null)
  const [guest, setGuest] = useState('')
  const [refused, setRefused] = useState<Refused | null>(null)

  const read = useCallback(async () => {
    try {
      const [listed, who] = await Promise.all([asked<{ payments: StayPayment[] }>('GET', `${at}/payments`), asked<{ guest_name: string }>('GET', at)])
      setPayments(listed.payments)
      setGuest(who.guest_name)
      setRefused(null)
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      setRefused(error)
    }
  }, [at])
  useEffect(() => {
    void read()
    const timer = setInterval(() => { if (!document.hidden) void read() }, ASK_EACH_MS)
    return () => clearInterval(timer)
  }, [read])
  useEffect(() => { document.title = `Payments · ${property.name} · Innkeeper` }, [property.name])

  const time = new Intl.DateTimeFormat('en-GB', { weekday: 'short', day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', timeZone: property.zone })
  return (
    <>
      <Header title={property.name} detail="Payments of a stay" back />
      <main className={`${consoleStyles['main']} ${own['page']}`} data-testid="payments" aria-busy={payments === null && refused === null}>
        {refused?.status === 401 ? <SignIn /> : refused !== null && (payments === null ? (
          <Notice title="No payments here" icon="lock"><p>{refused.message}</p></Notice>
        ) : (
          <p className={consoleStyles['streamLost']} role="alert"><Icon name="warning" /> {refused.message} What is below is what was last received.</p>
        ))}
        {payments !== null && refused?.status !== 401 && (
          <>
            <h2 className={styles['heading']}>{guest === '' ? 'Payments' : `Payments of ${guest}`} <span className={styles['count']}>{payments.length}</span></h2>
            {payments.length === 0 && <p className={styles['empty']}>No payment was asked for on this stay.</p>}
            <ul className={styles['list']}>
              {payments.map((each) => <OnePayment key={each.id} at={`${at}/payments/${encodeURIComponent(each.id)}`} payment={each} time={time} onDone={read} />)}
            </ul>
            <p className={styles['more']}><a className={styles['plain']} href={arrivalsOf(property.id)}>Back to arrivals</a></p>
          </>
        )}
      </main>
    </>
  )
}

function OnePayment({ at, payment, time, onDone }: { at: string; payment: StayPayment; time: Intl.DateTimeFormat; onDone: () => Promise<void> }) {
  const [wish, setWish] = useState<Wish | null>(null)
  const [said, setSaid] = useState<string | null>(null)
  const [problem, setProblem] = useState<string | null>(null)
  const [isAsking, setAsking] = useState(false)
  const question = useRef(new Question())
  const status = useRef<HTMLParagraphElement>(null)
  const money = (minor: number) => saidMoney(minor, payment.currency)
  const left = payment.captured - payment.refunded
  const underWay = payment.movements.find(isUnderWay)
  const begin = (next: Wish) => { setSaid(null); setProblem(null); setWish(next) }

  async function ask({ verb, minor, reason }: Wish): Promise<void> {
    setAsking(true)
    const body = { reason, ...(verb === 'release' ? {} : { minor }) }
    try {
      const told = await question.current.ask<StayPayment>(`${at}/${verb}`, body)
      const waits = told.movements.some(({ state, mine }) => state === 'waiting' && mine)
      setSaid(waits ? `Giving back ${money(minor)} waits for a second person.` : `${VERBS[verb].done}: ${money(minor)}.`)
      setProblem(null)
      setWish(null)
    } catch (error) {
      // what may have been done is asked for again as it is, and as nothing else
      const isOpen = error instanceof Refused && ['unreachable', 'unanswered'].includes(error.kind)
      setProblem(isOpen ? `${error.kind === 'unreachable' ? 'The cloud' : 'The payment provider'} has not answered.` : inWords(error))
      if (!isOpen) setWish(null)
    }
    setAsking(false)
    await onDone()
    status.current?.focus()
  }

  return (
    <li className={styles['card']} data-payment={payment.id} data-state={payment.state}>
      <div className={styles['line']}>
        <strong>{money(payment.minor)}</strong>
        <span>{STATES[payment.state] ?? payment.state}{payment.state === 'failed' ? `: ${why(payment.failure)}` : ''}</span>
      </div>
      {payment.captured > 0 && (
        <p data-testid="taken">Taken {money(payment.captured)}{payment.captured < payment.minor ? `, ${money(payment.minor - payment.captured)} let go` : ''}{payment.refunded > 0 ? `; given back ${money(payment.refunded)}` : ''}.</p>
      )}
      {payment.movements.length > 0 && (
        <ul className={own['movements']} aria-label="What was asked for">
          {payment.movements.map((each) => <Moved key={`${each.verb}-${each.key}`} at={at} movement={each} money={money} time={time} onDone={onDone} />)}
        </ul>
      )}
      <p ref={status} tabIndex={-1} className={own['said']} role="status">{said}</p>
      {problem !== null && <p className={styles['problem']} role="alert">{problem}</p>}
      {underWay === undefined && wish === null && payment.state === 'held' && (
        <>
          <Amount verb="capture" most={payment.minor} currency={payment.currency} onWish={begin} />
          <Reason verb="release" minor={payment.minor} onWish={begin} />
        </>
      )}
      {underWay === undefined && wish === null && left > 0 && <Amount verb="refund" most={left} currency={payment.currency} onWish={begin} />}
      {wish !== null && (
        <Sure wish={wish} money={money} rest={wish.verb === 'capture' ? payment.minor - wish.minor : 0} isAgain={problem !== null} isAsking={isAsking}
          onYes={() => void ask(wish)} onNo={() => setWish(null)} />
      )}
    </li>
  )
}

/** One thing that was asked of the payment, and what became of it. */
function Moved({ at, movement, money, time, onDone }: { at: string; movement: PaymentMovement; money: (minor: number) => string; time: Intl.DateTimeFormat; onDone: () => Promise<void> }) {
  const { verb, minor, state } = movement
  const told = {
    waiting: movement.mine ? 'waits for a second person. You asked for it, so it cannot be you.' : 'waits for a second person.',
    asked: 'the provider is being asked', unknown: 'not known: the provider has not answered. He is asked until he does; nothing is done twice.',
    done: 'done', refused: `refused: ${why(movement.failure)}. Nothing was done.`,
  }[state]
  return (
    <li data-movement={verb} data-state={state}>
      {isUnderWay(movement) && <Icon name="warning" />} <strong>{VERBS[verb].name} {money(minor)}</strong>: {told}
      <span className={own['who']}>{movement.asked_by}, {time.format(new Date(movement.asked_at))}{movement.reason === null ? '' : `: ${movement.reason}`}{movement.approved_by === null ? '' : ` · approved by ${movement.approved_by}`}</span>
      {state === 'waiting' && <SecondWord at={at} movement={movement} money={money} onDone={onDone} />}
    </li>
  )
}

/** The second person's yes, or anybody's no. */
function SecondWord({ at, movement, money, onDone }: { at: string; movement: PaymentMovement; money: (minor: number) => string; onDone: () => Promise<void> }) {
  const [problem, setProblem] = useState<string | null>(null)
  const [isAsking, setAsking] = useState(false)

  async function say(word: 'approval' | 'withdrawal'): Promise<void> {
    setAsking(true)
    const body = { idempotency_key: movement.key, ...(word === 'approval' ? { minor: movement.minor } : {}) }
    const refused = await asked('POST', `${at}/refund/${word}`, body).then(() => null, inWords)
    setProblem(refused)
    setAsking(false)
    await onDone()
  }

  return (
    <div className={styles['actions']}>
      {!movement.mine && <Button size="xs" loading={isAsking} onClick={() => void say('approval')}>Approve giving back {money(movement.minor)}</Button>}
      <Button size="xs" variant="default" disabled={isAsking} onClick={() => void say('withdrawal')}>Take it back</Button>
      {problem !== null && <p className={styles['problem']} role="alert">{problem}</p>}
    </div>
  )
}

/** How much, and why. */
function Amount({ verb, most, currency, onWish }: { verb: Verb; most: number; currency: string; onWish: (wish: Wish) => void }) {
  const [problem, setProblem] = useState<string | null>(null)
  function said(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault()
    const form = new FormData(event.currentTarget)
    const minor = minorOf(String(form.get('amount')), currency)
    const reason = String(form.get('reason')).trim()
    if (minor === null || minor < 1 || minor > most) return setProblem(`An amount up to ${saidMoney(most, currency)}, such as ${writtenMoney(most, currency)}.`)
    if (reason.length < 3) return setProblem('Say in a few words why; it is kept with the payment.')
    onWish({ verb, minor, reason })
  }
  return (
    <form className={own['amount']} onSubmit={said} aria-label={VERBS[verb].name}>
      <TextInput name="amount" label={`${VERBS[verb].ask} (${currency})`} defaultValue={writtenMoney(most, currency)} inputMode="decimal" autoComplete="off" />
      <TextInput name="reason" label="Why" maxLength={200} />
      <Button type="submit" variant="default">{VERBS[verb].name}…</Button>
      {problem !== null && <p className={styles['problem']} role="alert">{problem}</p>}
    </form>
  )
}

/** All that is held, and why it is let go. */
function Reason({ verb, minor, onWish }: { verb: Verb; minor: number; onWish: (wish: Wish) => void }) {
  const [problem, setProblem] = useState<string | null>(null)
  function said(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault()
    const reason = String(new FormData(event.currentTarget).get('reason')).trim()
    if (reason.length < 3) return setProblem('Say in a few words why; it is kept with the payment.')
    onWish({ verb, minor, reason })
  }
  return (
    <form className={own['amount']} onSubmit={said} aria-label={VERBS[verb].name}>
      <TextInput name="reason" label="Why all of it is let go" maxLength={200} className={own['wide'] ?? ''} />
      <Button type="submit" variant="default">{VERBS[verb].name}…</Button>
      {problem !== null && <p className={styles['problem']} role="alert">{problem}</p>}
    </form>
  )
}

/** The last word before money moves. */
function Sure({ wish, money, rest, isAgain, isAsking, onYes, onNo }: {
  wish: Wish; money: (minor: number) => string; rest: number; isAgain: boolean; isAsking: boolean; onYes: () => void; onNo: () => void
}) {
  const box = useRef<HTMLDivElement>(null)
  useEffect(() => box.current?.focus(), [])
  const text = `${VERBS[wish.verb].ask} ${money(wish.minor)}?${rest > 0 ? ` The other ${money(rest)} are let go, and cannot be taken later.` : ''}`
  return (
    <div ref={box} tabIndex={-1} className={own['sure']} role="group" aria-label={text} data-testid="sure">
      <p>{isAgain ? 'It may have been done. Asking again does nothing twice.' : text}</p>
      <div className={styles['actions']}>
        <Button loading={isAsking} onClick={onYes}>{isAgain ? 'Ask again' : `Yes, ${VERBS[wish.verb].ask.toLowerCase()} ${money(wish.minor)}`}</Button>
        <Button variant="subtle" disabled={isAsking} onClick={onNo}>{isAgain ? 'Not now' : 'No'}</Button>
      </div>
    </div>
  )
}
