/** The forms of the check-in: labelled, usable by keyboard, and wrong in plain words beside the field and above them all. */
import { type FormEvent, type ReactNode, useEffect, useId, useMemo, useRef, useState } from 'react'
import { useSurroundings } from '../surroundings'
import { countriesIn } from './countries'
import type { Walk, WalkState } from './walk'
import type { GuestFacts, Problem, Session, Step } from './wire'
import { type FieldName, type SessionWords, sessionWords, type ZoneField } from './words'

export interface FormProps {
  walk: Walk
  state: WalkState
  session: Session
  step: Step
  /** At a kiosk with a reader: what puts the zone into the form. */
  reader?: ReactNode
}

const ADDRESS_CHARACTERS_MOST = 300
const NAME_CHARACTERS_MOST = 80

export function IdentityForm({ walk, state, session, step }: FormProps) {
  const { words, locale } = useSurroundings()
  const said = sessionWords(words.tag)
  const countries = useMemo(() => countriesIn(locale), [locale])
  const isLead = step.subject === 'g1'
  // Who signs a card, or whose document is compared, is asked for what stands on it.
  const isAsked = session.steps.some(({ step: kind }) => kind === 'registration_card' || kind === 'document')
  const hasCard = session.steps.some(({ step: kind }) => kind === 'registration_card')
  const required: FieldName[] = isAsked ? ['given_names', 'surname', 'birth_date', 'nationality'] : ['given_names', 'surname']
  return (
    <Form {...{ walk, state, said }} required={required} onSend={(read) => walk.tell(step.subject, factsOf(read))}>
      {(field) => (
        <>
          <p>{isLead ? said.identityLead : said.identityOther}</p>
          <Text {...field('given_names')} hint={said.hints.names} autoComplete={isLead ? 'given-name' : 'off'} maxLength={NAME_CHARACTERS_MOST} />
          <Text {...field('surname')} hint={said.hints.names} autoComplete={isLead ? 'family-name' : 'off'} maxLength={NAME_CHARACTERS_MOST} />
          <Text {...field('birth_date')} type="date" autoComplete={isLead ? 'bday' : 'off'} />
          <Choice {...field('nationality')} choices={countries} empty={said.choose} />
          {hasCard && <Choice {...field('birth_state')} hint={said.hints.birth_state} choices={countries} empty={said.choose} />}
          {hasCard && <Text {...field('address')} hint={said.hints.address} autoComplete={isLead ? 'street-address' : 'off'} maxLength={ADDRESS_CHARACTERS_MOST} />}
        </>
      )}
    </Form>
  )
}

export function DocumentForm({ walk, state, step, reader }: FormProps) {
  const { words } = useSurroundings()
  const said = sessionWords(words.tag)
  return (
    <Form {...{ walk, state, said }} required={['mrz']} onSend={(read) => walk.show(step.subject, zoneOf(read('mrz')))}>
      {(field) => (
        <>
          {reader}
          <p className={reader === undefined ? undefined : 'dim'}>{said.documentHint}</p>
          {reader === undefined && <p className="dim">{said.documentWhere}</p>}
          <Lines {...field('mrz')} />
          <p className="dim">{said.documentPrivacy}</p>
        </>
      )}
    </Form>
  )
}

export function SignatureForm({ walk, state, step }: FormProps) {
  const { words } = useSurroundings()
  const said = sessionWords(words.tag)
  return (
    <Form {...{ walk, state, said }} required={['signed_as']} onSend={(read) => walk.sign(step.subject, read('signed_as'))}>
      {(field) => (
        <>
          <p>{said.cardHint}</p>
          <p>{said.cardStatement}</p>
          <Text {...field('signed_as')} hint={said.hints.names} autoComplete={step.subject === 'g1' ? 'name' : 'off'} maxLength={2 * NAME_CHARACTERS_MOST + 1} />
        </>
      )}
    </Form>
  )
}

/** The way to a person, from every step. */
export function HelpForm({ walk, state, session }: Omit<FormProps, 'step'>) {
  const { words, time } = useSurroundings()
  const said = sessionWords(words.tag)
  if (session.isOver) return null
  if (session.helpAskedMs !== null) {
    return <p className="fact" role="status" data-testid="help-asked">{said.helpAsked(time(session.helpAskedMs, Date.now()))}</p>
  }
  return (
    <details className="more">
      <summary>{said.help}</summary>
      <p className="dim">{said.helpHint}</p>
      <Form {...{ walk, state, said }} required={['reason']} send={said.helpSend} isAside onSend={(read) => walk.help(read('reason'))}>
        {(field) => <Text {...field('reason')} maxLength={ADDRESS_CHARACTERS_MOST} />}
      </Form>
    </details>
  )
}

type Read = (name: FieldName) => string

interface FieldProps {
  name: FieldName
  label: string
  /** What is wrong with it; null: nothing. */
  wrong: string | null
  isRequired: boolean
}

/** One form: empty fields are found before anything is sent, and the first wrong one takes the focus. */
export function Form({ walk, state, said, required, send, isAside = false, onSend, children }: {
  walk: Walk
  state: WalkState
  said: SessionWords
  required: readonly FieldName[]
  send?: string
  /** Beside the step of now: problems of that one are not its own. */
  isAside?: boolean
  onSend: (read: Read) => Promise<boolean>
  children: (field: (name: FieldName) => FieldProps) => ReactNode
}) {
  const { words } = useSurroundings()
  const form = useRef<HTMLFormElement>(null)
  const [missing, setMissing] = useState<readonly FieldName[]>([])
  const [isMine, setIsMine] = useState(!isAside)
  const problem = isMine ? placed(state.problem, required, said) : null
  const field = (name: FieldName): FieldProps => ({
    name,
    label: said.fields[name],
    isRequired: required.includes(name),
    wrong: missing.includes(name) ? said.missing : wrongOf(problem, name, said),
  })
  useEffect(() => {
    if (problem !== null || missing.length > 0) form.current?.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus()
  }, [problem, missing])
  const sent = (event: FormEvent): void => {
    event.preventDefault()
    if (form.current === null || state.isBusy) return
    const data = new FormData(form.current)
    const read: Read = (name) => String(data.get(name) ?? '').trim()
    const empty = required.filter((name) => read(name) === '')
    setMissing(empty)
    setIsMine(true)
    if (empty.length === 0) void onSend(read).then((isTaken) => { if (isTaken && isAside) setIsMine(false) })
  }
  const general = problem === null ? null : generalOf(problem, said, words.checkIn)
  return (
    <form ref={form} className="form" noValidate onSubmit={sent}>
      {children(field)}
      {general !== null && (
        <div role="alert" className="wrong-box" data-testid="form-problem">
          <p><strong>{said.whyNotSent}.</strong> {general}</p>
          {problem?.kind === 'zone' && (
            <ul>
              {problem.findings.map(({ line, first, last, field: part }) => (
                <li key={`${line}-${first}-${part}`}>{said.zoneAt(line, first, last, said.zoneFields[part as ZoneField] ?? part)}</li>
              ))}
            </ul>
          )}
        </div>
      )}
      <div className="form-actions">
        <button type="submit" className={isAside ? 'quiet' : 'open open-first'} aria-disabled={state.isBusy}>{state.isBusy ? said.sending : (send ?? said.next)}</button>
        {!isAside && state.again !== null && <button type="button" className="quiet" onClick={() => walk.redo(null)}>{said.notNow}</button>}
      </div>
    </form>
  )
}

function Field({ label, wrong, hint, isRequired, id, children }: Omit<FieldProps, 'name'> & { id: string; hint?: string | undefined; children: ReactNode }) {
  const { words } = useSurroundings()
  return (
    <div className="field">
      <label htmlFor={id}>{label}{!isRequired && <span className="dim"> ({sessionWords(words.tag).optional})</span>}</label>
      {hint !== undefined && <p id={`${id}-hint`} className="dim">{hint}</p>}
      {children}
      {wrong !== null && <p id={`${id}-wrong`} className="wrong">{wrong}</p>}
    </div>
  )
}

/** What ties a control to its label, its hint and what is wrong with it. */
function tied(id: string, { name, wrong, isRequired }: Omit<FieldProps, 'label'>, hint?: string) {
  const told = [hint === undefined ? '' : `${id}-hint`, wrong === null ? '' : `${id}-wrong`].filter((each) => each !== '').join(' ')
  return {
    id, name,
    'aria-invalid': wrong !== null,
    'aria-required': isRequired,
    ...(told === '' ? {} : { 'aria-describedby': told }),
  }
}

function Text({ hint, type = 'text', autoComplete = 'off', maxLength, ...field }: FieldProps & { hint?: string; type?: 'text' | 'date'; autoComplete?: string; maxLength?: number }) {
  const id = useId()
  return (
    <Field {...field} id={id} hint={hint}>
      <input {...tied(id, field, hint)} className="input" type={type} dir="auto" autoComplete={autoComplete} {...(maxLength === undefined ? {} : { maxLength })} {...(type === 'date' ? { min: '1900-01-01', max: '2100-01-01' } : {})} />
    </Field>
  )
}

function Choice({ hint, choices, empty, ...field }: FieldProps & { hint?: string; choices: readonly { code: string; name: string }[]; empty: string }) {
  const id = useId()
  return (
    <Field {...field} id={id} hint={hint}>
      <select {...tied(id, field, hint)} className="input" defaultValue="">
        <option value="">{empty}</option>
        {choices.map(({ code, name }) => <option key={code} value={code}>{name}</option>)}
      </select>
    </Field>
  )
}

/** The zone as it is printed: from left to right in every language, in letters of one width, corrected by nobody. */
function Lines(field: FieldProps) {
  const id = useId()
  return (
    <Field {...field} id={id}>
      <textarea {...tied(id, field)} className="input zone" dir="ltr" rows={3} maxLength={200} spellCheck={false} autoComplete="off" autoCorrect="off" autoCapitalize="characters" inputMode="text" />
    </Field>
  )
}

export function Tick({ label, ...field }: FieldProps) {
  const id = useId()
  return (
    <div className="field">
      <label className="tick" htmlFor={id}>
        <input {...tied(id, field)} type="checkbox" value="yes" />
        <span>{label}</span>
      </label>
      {field.wrong !== null && <p id={`${id}-wrong`} className="wrong">{field.wrong}</p>}
    </div>
  )
}

/** A typed zone as it is sent: capitals without blanks; what looks like the filler is one. */
export function zoneOf(typed: string): string {
  return typed.toUpperCase().replace(/[«‹≪]/gu, '<').split(/\r?\n/u).map((line) => line.replace(/\s/gu, '')).filter((line) => line !== '').join('\n')
}

function factsOf(read: Read): GuestFacts {
  const facts: GuestFacts = { surname: read('surname'), given_names: read('given_names') }
  for (const name of ['birth_date', 'nationality', 'birth_state', 'address'] as const) {
    const value = read(name)
    if (value !== '') facts[name] = value
  }
  return facts
}

/** A problem with a field that no form has is about the only field of this one. */
function placed(problem: Problem | null, [only, ...others]: readonly FieldName[], said: SessionWords): Problem | null {
  if (problem?.kind !== 'field' || problem.field in said.fields || only === undefined || others.length > 0) return problem
  return { kind: 'field', field: only }
}

function wrongOf(problem: Problem | null, name: FieldName, said: SessionWords): string | null {
  if (problem?.kind === 'zone') return name === 'mrz' ? said.zoneLead : null
  return problem?.kind === 'field' && problem.field === name ? said.wrong[name] : null
}

/** What is said above the button; null: it stands beside a field. */
export function generalOf(problem: Problem, said: SessionWords, troubles: Record<string, string>): string | null {
  switch (problem.kind) {
    case 'line':
      return troubles[problem.trouble] ?? said.wrong.other
    case 'front_desk':
      return said.frontDesk
    case 'zone':
      return said.zoneLead
    case 'payment':
      return problem.what === 'away' ? said.pay.away : said.pay.refused
    case 'gone':
      return troubles['signed_out'] ?? said.wrong.other
    case 'field':
      return problem.field in said.fields ? said.wrong[problem.field as FieldName] : said.wrong.other
  }
}
