/** The desk's page of a hotel: the check-ins that wait for staff, and a link for the guest of each stay. */
import type { HandOver, Property, Stay, WaitingRefund } from '@innkeeper/api'
import { Icon, isStuck, saidLetter } from '@innkeeper/ui'
import { Button, TextInput } from '@mantine/core'
import { useCallback, useEffect, useRef, useState } from 'react'
import styles from './Arrivals.module.css'
import consoleStyles from './console.module.css'
import { nameOf, SessionSteps, STEPS, Waiver } from './SessionSteps'
import { ConflictNote } from './ConflictNote'
import { GuestPanel } from './GuestPanel'
import { Header } from './Header'
import { LateCheckOuts } from './LateCheckOuts'
import { LATE_REASONS } from './lateSteps'
import { saidMoney } from './money'
import { Question } from './keyAsking'
import { Notice } from './Notices'
import { PmsWishes } from './PmsWishes'
import { SignIn } from './SignIn'
import { asked, inWords, Refused } from './passkeys'
import { kiosksOf, paymentsOf, stayLogOf, termsOf } from './route'

const ASK_EACH_MS = 5_000
const ACTIVE = ['planned', 'ready', 'in_house']

type WaitingStep = HandOver['steps'][number]

const REASONS: Record<string, string> = {
  ...LATE_REASONS,
  name_similar: 'the name is nearly the booking’s', name_different: 'the name is not the booking’s', minor_alone: 'the lead guest is a minor',
  review: 'a watchlist entry agrees: compare before you decide', specimen: 'the specimen of a document', document_not_accepted: 'a kind of document that the policy does not take',
  card_at_desk: 'a card is to be written: lay one on the encoder', key_refused: 'the lock system refused to make the key: see its own screen',
  document_expired: 'the document has expired', birth_date_differs: 'the date of birth differs from what was told', nationality_differs: 'the nationality differs from what was told',
}
const STATES: Record<string, string> = { planned: 'expected', ready: 'room ready', in_house: 'in house', left: 'has left' }

/** He asked, went on by himself, and nothing else of his waits: said, and not counted. */
const hasGoneOn = ({ went_on_at, steps }: HandOver): boolean => went_on_at !== null && steps.length === 0

const at = (property: string, stay: string): string => `api/v1/properties/${encodeURIComponent(property)}/stays/${encodeURIComponent(stay)}`

export function ArrivalsPage({ property }: { property: Property }) {
  const [stays, setStays] = useState<Stay[] | null>(null)
  const [queue, setQueue] = useState<HandOver[]>([])
  const [refunds, setRefunds] = useState<WaitingRefund[]>([])
  const [refused, setRefused] = useState<Refused | null>(null)
  const [wanted, setWanted] = useState('')
  const [written, setWritten] = useState('') // outlives the check-in's place in the queue, which its card ends

  const read = useCallback(async () => {
    const here = `api/v1/properties/${encodeURIComponent(property.id)}`
    try {
      const [listed, waiting, back] = await Promise.all([
        asked<{ stays: Stay[] }>('GET', `${here}/stays`),
        asked<{ hand_overs: HandOver[] }>('GET', `${here}/hand-overs`),
        asked<{ refunds: WaitingRefund[] }>('GET', `${here}/waiting-refunds`),
      ])
      setStays(listed.stays.filter(({ state }) => ACTIVE.includes(state) || state === 'left'))
      setQueue(waiting.hand_overs)
      setRefunds(back.refunds)
      setRefused(null)
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      setRefused(error)
    }
  }, [property.id])
  useEffect(() => {
    void read()
    const timer = setInterval(() => { if (!document.hidden) void read() }, ASK_EACH_MS)
    return () => clearInterval(timer)
  }, [read])

  const day = new Intl.DateTimeFormat('en-GB', { weekday: 'short', day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', timeZone: property.zone })
  const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', timeZone: property.zone })
  const date = new Intl.DateTimeFormat('en-GB', { dateStyle: 'short', timeZone: property.zone })
  /** Today it is enough to say the clock: “15:07”. */
  const opened = (at: string) => (date.format(new Date(at)) === date.format(new Date()) ? clock : day).format(new Date(at))
  // a check-out is a wish of who has left: where the PMS cannot be told of it, nobody would look for him
  const here = (stays ?? []).filter(({ state, pms_wishes }) => state !== 'left' || pms_wishes.some(isStuck))
  const disagreed = here.filter(({ conflict }) => conflict !== null).length
  const words = wanted.trim().toLowerCase()
  // who has left is found by name or room, for what was forgotten in the minibar or is to be given back
  const found = (words === '' ? here : (stays ?? [])).filter(({ guest_name, room }) => `${guest_name} ${room ?? ''}`.toLowerCase().includes(words))
    .sort((one, other) => Number(other.conflict !== null) - Number(one.conflict !== null))
  if (refused?.status === 401) return <><Header title={property.name} back /><main className={consoleStyles['main']}><SignIn /></main></>
  return (
    <>
      <Header title={property.name} detail="Arrivals and check-in" back />
      <main className={consoleStyles['main']}>
        {refused !== null && (stays === null ? (
          <Notice title="No arrivals here" icon="lock"><p>{refused.message}</p></Notice>
        ) : (
          <p className={consoleStyles['streamLost']} role="alert"><Icon name="warning" /> {refused.message} What is below is what was last received.</p>
        ))}
        {stays !== null && (
          <div className={styles['columns']}>
            <section aria-labelledby="waiting" data-testid="waiting">
              <h2 id="waiting" className={styles['heading']}>Waiting for the desk <span className={styles['count']}>{queue.filter((each) => !hasGoneOn(each)).length}</span></h2>
              <p role="status" className={styles['written']} data-testid="written">{written}</p>
              {queue.length === 0 && <p className={styles['empty']}>No check-in waits for you.</p>}
              <ul className={styles['list']}>
                {queue.map((each) => <Waiting key={each.session} property={property.id} handOver={each} since={day.format(new Date(each.since))} wentOn={each.went_on_at === null ? null : opened(each.went_on_at)} onDone={() => void read()} onWritten={setWritten} />)}
              </ul>
              <LateCheckOuts property={property.id} zone={property.zone} onDone={() => void read()} />
              {refunds.length > 0 && (
                <>
                  <h2 className={styles['heading']}>Refunds that wait for a second person <span className={styles['count']}>{refunds.length}</span></h2>
                  <ul className={styles['list']} data-testid="waiting-refunds">
                    {refunds.map((each) => (
                      <li key={`${each.payment}-${each.key}`} className={styles['card']} data-refund={each.payment}>
                        <div className={styles['line']}>
                          <strong>{saidMoney(each.minor, each.currency)}</strong>
                          <span>{each.asked_by}, until {opened(each.until)}</span>
                        </div>
                        {each.reason !== null && <p className={styles['dim']}>{each.reason}</p>}
                        <p className={styles['dim']}>{each.mine ? 'You asked for it: somebody else has to approve it.' : <a className={styles['plain']} href={paymentsOf(property.id, each.stay)}>Look at it</a>}</p>
                      </li>
                    ))}
                  </ul>
                </>
              )}
              <p className={styles['more']}><a className={styles['plain']} href={termsOf(property.id)}>House terms that guests accept</a> · <a className={styles['plain']} href={kiosksOf(property.id)}>Kiosks</a></p>
            </section>
            <section aria-labelledby="stays">
              <h2 id="stays" className={styles['heading']}>Stays <span className={styles['count']}>{here.length}</span></h2>
              {disagreed > 0 && (
                <p className={styles['disagreed']} role="status" data-testid="disagreed">
                  <Icon name="warning" /> {disagreed === 1 ? '1 stay' : `${disagreed} stays`} on which the PMS and the house do not agree
                </p>
              )}
              <TextInput label="Find by name or room" description="Finds who has left as well" value={wanted} onChange={(event) => setWanted(event.currentTarget.value)} />
              {found.length === 0 && <p className={styles['empty']}>No stay of that name or room.</p>}
              <ul className={styles['list']}>
                {found.map((stay) => (
                  <li key={stay.id} className={styles['card']} data-stay={stay.id}>
                    <div className={styles['line']}>
                      <strong>{stay.guest_name}</strong>
                      <span>{stay.room === null ? 'no room yet' : `Room ${stay.room}`} · {STATES[stay.state] ?? stay.state}</span>
                    </div>
                    <p className={styles['dim']}>{day.format(new Date(stay.expected_from))} to {day.format(new Date(stay.expected_until))}</p>
                    {stay.conflict !== null && <ConflictNote conflict={{ ...stay, kind: stay.conflict }} />}
                    <PmsWishes stay={stay} clock={opened} />
                    {stay.state !== 'left' && stay.letters.map((letter) => {
                      const { said, isTodo } = saidLetter(letter, opened)
                      return (
                        <p key={letter.kind} className={isTodo ? styles['disagreed'] : styles['dim']} data-letter={letter.kind} data-state={letter.state}>
                          {isTodo && <Icon name="warning" />} {said}
                        </p>
                      )
                    })}
                    <p className={styles['key']} data-testid="first-opened">
                      <span>{stay.first_opened_at === null ? 'No door opened yet' : `First opened ${opened(stay.first_opened_at)}`}</span>
                      <a className={styles['plain']} href={stayLogOf(property.id, stay.id)} aria-label={`Door log of ${stay.guest_name}`}>Door log</a>
                      <a className={styles['plain']} href={paymentsOf(property.id, stay.id)} aria-label={`Payments of ${stay.guest_name}`}>Payments</a>
                    </p>
                    <GuestPanel property={property.id} address={at(property.id, stay.id)} name={stay.guest_name} />
                    {stay.state !== 'left' && <SessionSteps address={at(property.id, stay.id)} guest={stay.guest_name} day={day} />}
                    {stay.state !== 'left' && <Link property={property.id} stay={stay} />}
                  </li>
                ))}
              </ul>
            </section>
          </div>
        )}
      </main>
    </>
  )
}

/** One check-in: what is to be looked at, and letting it pass with a reason that is kept as evidence. */
function Waiting({ property, handOver, since, wentOn, onDone, onWritten }: {
  property: string; handOver: HandOver; since: string; wentOn: string | null; onDone: () => void; onWritten: (said: string) => void
}) {
  return (
    <li className={styles['card']} data-hand-over={handOver.stay}>
      <div className={styles['line']}>
        <strong>{handOver.guest_name}</strong>
        <span>{handOver.room === null ? 'no room yet' : `Room ${handOver.room}`} · {handOver.channel} · since {since}</span>
      </div>
      {handOver.asked !== null && <p className={styles['asked']}><Icon name="person" /> “{handOver.asked}”</p>}
      {wentOn !== null && <p className={styles['dim']} data-testid="went-on"><Icon name="check" /> Went on alone since, {wentOn}</p>}
      {handOver.steps.map((each) => (
        each.step === 'grant' ? <Card key={`${each.step}-${each.subject}`} property={property} step={each} guest={handOver.guest_name} onDone={onDone} onWritten={onWritten} /> : (
          <div key={`${each.step}-${each.subject}`}>
            <p><strong>{nameOf(each)}</strong>: {REASONS[each.reason ?? ''] ?? each.reason ?? 'to be looked at'}</p>
            <Waiver address={at(property, handOver.stay)} step={each} label="Let it pass" onDone={onDone} />
          </div>
        )
      ))}
    </li>
  )
}

/** A key behind another maker's lock: the card that lies on the encoder is written; one that was refused is for a person. */
function Card({ property, step, guest, onDone, onWritten }: {
  property: string; step: WaitingStep; guest: string; onDone: () => void; onWritten: (said: string) => void
}) {
  const [said, setSaid] = useState<string | null>(null)
  const [isAsking, setAsking] = useState(false)
  const question = useRef(new Question())

  async function write(): Promise<void> {
    setAsking(true)
    const told = await question.current.ask<{ keys: { state: string; problem: string | null }[] }>(`${at(property, step.subject)}/key-cards`, {}).catch(inWords)
    setAsking(false)
    if (typeof told === 'string') return setSaid(told)
    const left = told.keys.filter(({ state }) => state !== 'made')
    if (left.length === 0) onWritten(`The card of ${guest} is written. Give it to the guest.`)
    else setSaid(left[0]?.problem ?? `Written. ${left.length} more to write: lay the next card on the encoder.`)
    onDone()
  }

  return (
    <div className={styles['step']}>
      <p><strong>{STEPS[step.step]}</strong>: {REASONS[step.reason ?? ''] ?? step.reason ?? 'to be looked at'}</p>
      {step.reason === 'card_at_desk' && <Button variant="default" loading={isAsking} onClick={() => void write()}>Write the card</Button>}
      {said !== null && <p role="status" className={styles['dim']}>{said}</p>}
    </div>
  )
}

/** A link for the guest: check-in and key in one. It is shown once, because the cloud keeps only its digest. */
function Link({ property, stay }: { property: string; stay: Stay }) {
  const [link, setLink] = useState<string | null>(null)
  const [said, setSaid] = useState<string | null>(null)
  const [isAsking, setAsking] = useState(false)
  const path = `${at(property, stay.id)}/guest-links`

  async function change(work: () => Promise<string | null>): Promise<void> {
    setAsking(true)
    setSaid(await work())
    setAsking(false)
  }

  // one click makes it and lays it into the clipboard, ready for a message; a browser that lets no page do so shows it
  const make = () => change(() => asked<{ path: string }>('POST', path).then(async (made) => {
    const address = new URL(made.path, document.baseURI).href
    setLink(address)
    return navigator.clipboard.writeText(address).then(() => 'Copied: paste it into the message to the guest.', () => null)
  }, inWords))
  const end = () => change(() => asked('DELETE', path).then(() => { setLink(null); return 'No link of this stay works any more. A key on a phone stays until it is withdrawn.' }, inWords))
  const copy = (text: string) => change(() => navigator.clipboard.writeText(text).then(() => 'Copied.', () => 'This browser does not let the page copy: select the link and copy it.'))

  return (
    <div className={styles['link']}>
      <div className={styles['actions']}>
        <Button size="xs" variant="default" loading={isAsking} onClick={() => void make()}>{stay.state === 'in_house' ? 'Make a key link' : 'Make a check-in link'}</Button>
        <Button size="xs" variant="subtle" loading={isAsking} onClick={() => void end()}>End its links</Button>
      </div>
      {link !== null && (
        <div className={styles['made']}>
          <p>Send this to the guest. It is shown this once, and becomes the first phone’s that asks for the key.</p>
          <output data-testid="guest-link" className={styles['address']}>{link}</output>
          <Button size="xs" variant="default" onClick={() => void copy(link)}>Copy</Button>
        </div>
      )}
      {said !== null && <p role="status" className={styles['dim']}>{said}</p>}
    </div>
  )
}
