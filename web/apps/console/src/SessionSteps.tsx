/** How far the check-in of one stay is, for the desk: what is open can be done here in the guest's place, with a reason that is kept. */
import type { CheckInSession, CheckInStep, Evidence } from '@innkeeper/api'
import { Button, TextInput } from '@mantine/core'
import { type FormEvent, useCallback, useState } from 'react'
import styles from './Arrivals.module.css'
import { bothOf, LATE_REASONS } from './lateSteps'
import { asked, inWords, Refused } from './passkeys'

export const STEPS: Record<string, string> = {
  grant: 'Key', identity: 'Identity', document: 'Travel document', registration_card: 'Registration card', terms: 'Terms', payment: 'Deposit', room: 'Room',
}
const STATES: Record<string, string> = { open: 'to do', needs_staff: 'with you', done: 'done', waived: 'done at the desk' }
const PAYMENTS: Record<string, string> = {
  asked: 'the provider is being asked', needs_guest: 'the guest has the provider’s page open', pending: 'the provider is working on it', held: 'held on a card',
  captured: 'taken', released: 'let go', failed: 'did not succeed; the guest may try again',
}
/** What the house itself does. */
const HOUSES: readonly string[] = ['room', 'grant']

export const nameOf = ({ step, subject }: { step: string; subject: string }): string =>
  `${STEPS[step] ?? step}${/^g[0-9]+$/u.test(subject) ? `, guest ${subject.slice(1)}` : ''}`

export function SessionSteps({ address, guest, day }: { address: string; guest: string; day: Intl.DateTimeFormat }) {
  const [session, setSession] = useState<CheckInSession | null>(null)
  const [evidence, setEvidence] = useState<Evidence[]>([])
  const [said, setSaid] = useState<string | null>(null)
  const read = useCallback(async () => {
    try {
      const [now, people] = await Promise.all([asked<CheckInSession>('GET', `${address}/session`), asked<{ evidence: Evidence[] }>('GET', `${address}/session/people`)])
      setSession(now)
      setEvidence(people.evidence)
      setSaid(null)
    } catch (error) {
      setSaid(error instanceof Refused && error.status === 404 ? 'Not begun yet.' : inWords(error))
    }
  }, [address])
  return (
    <details className={styles['steps']} onToggle={({ currentTarget }) => { if (currentTarget.open) void read() }}>
      <summary aria-label={`Check-in of ${guest}`}>Check-in</summary>
      {said !== null && <p role="status" className={styles['dim']}>{said}</p>}
      {session?.deposit_standing != null && (
        <p data-testid="deposit">Deposit: {session.deposit_standing.held ? 'held or taken' : PAYMENTS[session.deposit_standing.state ?? ''] ?? 'not begun'}</p>
      )}
      {session?.steps.map((each) => (
        <OneStep key={`${each.step}-${each.subject}`} address={address} step={each} day={day} isOpen={session.state === 'open'} onDone={() => void read()}
          kept={evidence.find(({ step, subject }) => step === each.step && subject === each.subject)} />
      ))}
    </details>
  )
}

function OneStep({ address, step, kept, day, isOpen, onDone }: {
  address: string; step: CheckInStep; kept: Evidence | undefined; day: Intl.DateTimeFormat; isOpen: boolean; onDone: () => void
}) {
  const name = nameOf(step)
  const isFinished = step.state === 'done' || step.state === 'waived'
  return (
    <div data-session-step={`${step.step}-${step.subject}`} data-state={step.state}>
      <p className={styles['line']}><strong>{name}</strong><span>{STATES[step.state] ?? step.state}</span></p>
      {kept !== undefined && isFinished && <p className={styles['dim']}>{`${kept.actor} (${kept.channel}), ${day.format(new Date(kept.at))}`}{termsOf(kept)}{kept.reason === null ? '' : `: ${kept.reason}`}</p>}
      {step.state === 'needs_staff' && step.reason !== null && <p className={styles['dim']}>{LATE_REASONS[step.reason] ?? step.reason.replaceAll('_', ' ')}</p>}
      {kept !== undefined && bothOf(kept, day).map((line) => <p key={line} className={styles['dim']} data-told>{line}</p>)}
      {isOpen && !isFinished && !HOUSES.includes(step.step) && <Waiver address={address} step={step} label={step.step === 'payment' ? 'Paid at the desk' : 'Let it pass'} onDone={onDone} />}
    </div>
  )
}

/** Which text of the terms was accepted, by the digest that names it. */
function termsOf({ step, evidence }: Evidence): string {
  const { version, language, languages, sha256 } = evidence as Record<string, unknown>
  const read = Array.isArray(languages) ? languages.join(' or ') : String(language) // before each consent named its language
  if (step !== 'terms' || typeof version !== 'string') return ''
  return typeof sha256 === 'string' ? `, version ${version} in ${read}, SHA-256 ${sha256.slice(0, 12)}…` : `, version ${version} on paper`
}

/** A step done, or let go, by the desk: with what was seen, which is kept as evidence. */
export function Waiver({ address, step: { step, subject }, label, onDone }: { address: string; step: { step: string; subject: string }; label: string; onDone: () => void }) {
  const [problem, setProblem] = useState<string | null>(null)
  const [isAsking, setAsking] = useState(false)

  async function pass(event: FormEvent<HTMLFormElement>): Promise<void> {
    event.preventDefault()
    const reason = String(new FormData(event.currentTarget).get('reason')).trim()
    if (reason.length < 3) return setProblem('Say in a few words what you saw; it is kept with the check-in.')
    setAsking(true)
    setProblem(await asked('POST', `${address}/session/waivers`, { step, subject, reason }).then(() => null, inWords))
    setAsking(false)
    onDone()
  }

  return (
    <form className={styles['step']} onSubmit={(event) => void pass(event)}>
      <TextInput name="reason" label="What you saw" maxLength={300} />
      <Button type="submit" variant="default" loading={isAsking}>{label}</Button>
      {problem !== null && <p className={styles['problem']} role="alert">{problem}</p>}
    </form>
  )
}
