/** The check-in on the screen: which booking, the step of now, what else there is, and the way to a person. */
import { Icon } from '@innkeeper/ui/icons'
import { type ReactNode, useEffect, useRef, useSyncExternalStore } from 'react'
import { Notice } from '../App'
import { useSurroundings } from '../surroundings'
import { DocumentForm, HelpForm, IdentityForm, SignatureForm } from './forms'
import { Payment } from './Payment'
import { TermsForm } from './TermsForm'
import { canRedo, progressOf, staffSteps, stepNow, type Walk, type WalkState } from './walk'
import type { Session, Step } from './wire'
import { type SessionWords, sessionWords, type StaffReason } from './words'

/** While the guest can only wait, this often; the cloud allows far more. */
const LOOK_EACH_MS = 5_000

export interface CheckInProps {
  walk: Walk
  /** Ask for the keys of this stay, for this phone. */
  onKeys: () => void
  /** What came of asking for the keys. */
  notices: ReactNode
  /** The doors that this phone has keys for already. */
  doors: ReactNode
  /** At a kiosk: what stands in place of what is the guest's phone's to do, paying and taking the key. */
  elsewhere?: (what: 'payment' | 'grant' | 'over') => ReactNode
  /** At a kiosk with a document reader: what reads the zone into its form. */
  reader?: ReactNode
  /** Where nobody at the desk sees this check-in: what is said in place of waiting for him. */
  atDesk?: { title: string; hint: string } | undefined
}

export function CheckIn({ walk, onKeys, notices, doors, elsewhere, reader, atDesk }: CheckInProps) {
  const state = useSyncExternalStore(walk.subscribe, () => walk.state)
  const { words, locale } = useSurroundings()
  const said = sessionWords(words.tag)
  useEffect(() => { document.title = said.title }, [said])
  const { session } = state
  if (session === null) return null
  const day = new Intl.DateTimeFormat(locale, { weekday: 'short', day: 'numeric', month: 'long', timeZone: session.zone })
  const { done, total } = progressOf(session)
  return (
    <main className="page page-check-in" data-session={session.id}>
      <div className="column">
        <header className="booking">
          <h1 className="title">{said.title}</h1>
          <p className="lead"><bdi>{session.house}</bdi><br />{said.days(day.format(session.arrivesMs), day.format(session.leavesMs))}</p>
          <p className="progress-line" id="check-in-progress">{said.progress(done, total)}</p>
          <progress className="steps-bar" aria-labelledby="check-in-progress" value={done} max={total} />
        </header>
        {state.isAnew && <Notice tone="info" icon="clock" title={said.anew} name="anew" />}
        {notices}
        <Screen walk={walk} state={state} session={session} onKeys={onKeys} elsewhere={elsewhere} reader={reader} atDesk={atDesk} />
        <WithStaff walk={walk} state={state} session={session} />
        {doors}
      </div>
      <aside className="about" aria-labelledby="check-in-steps">
        <h2 id="check-in-steps" className="about-title">{said.steps}</h2>
        <StepList state={state} session={session} />
        {atDesk === undefined && <HelpForm key={session.helpAskedMs} walk={walk} state={state} session={session} />}
        {elsewhere === undefined && <div className="fact"><Icon name="link" size={18} /><p><strong>{said.later}.</strong> {said.laterHint}</p></div>}
      </aside>
    </main>
  )
}

/** The step of now in its frame: its heading takes the focus when it comes, so that a screen reader begins there. */
export function Frame({ name, title, children }: { name: string; title: string; children: ReactNode }) {
  const heading = useRef<HTMLHeadingElement>(null)
  useEffect(() => heading.current?.focus(), [name])
  return (
    <section className="screen" data-screen={name}>
      <h2 ref={heading} tabIndex={-1} className="screen-title">{title}</h2>
      {children}
    </section>
  )
}

function Screen({ walk, state, session, onKeys, elsewhere, reader, atDesk }: { walk: Walk; state: WalkState; session: Session; onKeys: () => void; elsewhere: CheckInProps['elsewhere']; reader: ReactNode; atDesk: CheckInProps['atDesk'] }) {
  const { words } = useSurroundings()
  const said = sessionWords(words.tag)
  const step = stepNow(state)
  const isWaiting = step === null || step.step === 'payment' || (elsewhere !== undefined && step.step === 'grant')
  useEffect(() => {
    if (!isWaiting || session.isOver) return
    const timer = setInterval(() => { if (!document.hidden) void walk.look() }, LOOK_EACH_MS)
    return () => clearInterval(timer)
  }, [walk, isWaiting, session.isOver])
  if (session.isOver) {
    return (
      <Frame name="over" title={said.over}>
        {elsewhere === undefined && <p>{said.overHint}</p>}
        {elsewhere !== undefined ? elsewhere('over') : <button type="button" className="open open-first" onClick={onKeys}><Icon name="lock" size={22} />{said.getKey}</button>}
      </Frame>
    )
  }
  if (step === null) return <Waiting session={session} atDesk={atDesk} />
  const form = { walk, state, session, step }
  const frame = `${step.step}-${step.subject}`
  const number = Number(step.subject.slice(1))
  switch (step.step) {
    case 'identity':
      return <Frame key={frame} name={frame} title={said.identity(number)}><IdentityForm {...form} /></Frame>
    case 'document':
      return <Frame key={frame} name={frame} title={said.document(number)}><DocumentForm {...form} reader={reader} /></Frame>
    case 'registration_card':
      return <Frame key={frame} name={frame} title={said.card(number)}><SignatureForm {...form} /></Frame>
    case 'terms':
      return <Frame key={frame} name={frame} title={said.terms}><TermsForm {...form} /></Frame>
    case 'payment':
      return (
        <Frame key={frame} name={frame} title={said.payment}>
          {elsewhere === undefined ? <Payment walk={walk} state={state} session={session} /> : elsewhere('payment')}
        </Frame>
      )
    case 'room':
      return <Waiting session={session} atDesk={atDesk} />
    case 'grant':
      return (
        <Frame key={frame} name={frame} title={said.grant}>
          {elsewhere === undefined && <p>{said.grantHint}</p>}
          {elsewhere === undefined ? <button type="button" className="open open-first" onClick={onKeys}><Icon name="lock" size={22} />{said.getKey}</button> : elsewhere('grant')}
          {session.steps.filter(({ step: kind }) => kind === 'grant').length > 1 && (
            <p className="dim">{said.otherRooms(session.steps.filter(({ step: kind }) => kind === 'grant').length - 1)}</p>
          )}
        </Frame>
      )
  }
}

function Waiting({ session, atDesk }: { session: Session; atDesk: CheckInProps['atDesk'] }) {
  const { words } = useSurroundings()
  const said = sessionWords(words.tag)
  const isForStaff = session.waitsFor === 'staff' || staffSteps(session).length > 0
  if (isForStaff && atDesk !== undefined) return <Frame name="at-desk" title={atDesk.title}><p>{atDesk.hint}</p></Frame>
  return (
    <Frame name={isForStaff ? 'wait-staff' : 'wait-room'} title={isForStaff ? said.waitStaff : said.waitRoom}>
      <p>{isForStaff ? said.waitStaffHint : said.waitRoomHint}</p>
      <p className="looking" role="status"><Icon name="clock" size={18} />{said.looking}</p>
    </Frame>
  )
}

/** What lies with the front desk and why, as far as the guest is told; what he may put right himself, he can. */
function WithStaff({ walk, state, session }: { walk: Walk; state: WalkState; session: Session }) {
  const { words } = useSurroundings()
  const said = sessionWords(words.tag)
  const steps = staffSteps(session)
  if (steps.length === 0 || session.isOver) return null
  return (
    <section className="notice notice-warn" data-notice="with-staff" aria-labelledby="with-staff">
      <span className="notice-icon"><Icon name="person" size={22} /></span>
      <div>
        <h2 id="with-staff" className="notice-title">{said.staff}</h2>
        <ul className="notice-text with-staff">
          {steps.map((step) => (
            <li key={`${step.step}-${step.subject}`}>
              <p><strong>{nameOf(step, said)}.</strong> {reasonOf(step, said)}</p>
              {canRedo(step) && state.again?.step !== step.step && (
                <button type="button" className="quiet" aria-label={`${said.correct}: ${nameOf(step, said)}`} onClick={() => walk.redo(step)}>{said.correct}</button>
              )}
            </li>
          ))}
        </ul>
      </div>
    </section>
  )
}

function StepList({ state, session }: { state: WalkState; session: Session }) {
  const { words } = useSurroundings()
  const said = sessionWords(words.tag)
  const now = stepNow(state)
  return (
    <ol className="step-list">
      {session.steps.map((step) => {
        const isNow = now !== null && now.step === step.step && now.subject === step.subject
        const mark = isNow ? 'now' : step.state === 'waived' ? 'done' : step.state
        return (
          <li key={`${step.step}-${step.subject}`} className={`step-line step-line-${mark}`} data-step={`${step.step}-${step.subject}`} data-state={step.state} {...(isNow ? { 'aria-current': 'step' as const } : {})}>
            <Icon name={mark === 'done' ? 'check' : mark === 'needs_staff' ? 'person' : mark === 'now' ? 'arrow' : 'clock'} size={18} />
            <span className="step-line-name">{nameOf(step, said)}</span>
            <span className="step-line-state">{said.states[mark]}</span>
          </li>
        )
      })}
    </ol>
  )
}

export function nameOf({ step, subject }: Step, said: SessionWords): string {
  const number = /^g([0-9]+)$/u.exec(subject)?.[1]
  return number === undefined ? said.kinds[step] : `${said.kinds[step]}: ${said.guest(Number(number))}`
}

function reasonOf({ reason }: Step, said: SessionWords): string {
  return said.reasons[reason !== null && reason in said.reasons ? (reason as StaffReason) : 'other']
}
