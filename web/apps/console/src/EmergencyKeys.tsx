/** Emergency keys: drafted by one, approved by two officers with keys of their own, fetched by who drafted, taken back by anybody. */
import { Icon } from '@innkeeper/ui'
import { Button, Checkbox, TextInput } from '@mantine/core'
import { type FormEvent, useCallback, useEffect, useRef, useState } from 'react'
import styles from './Arrivals.module.css'
import type { House } from './Keys'
import keyStyles from './Keys.module.css'
import { APPROVALS, type DraftStanding, type EmergencyDraft, keyLink, Question, roomsOf, standingOf, wrongPerson, wrongPoint, wrongReason } from './keyAsking'
import { type OfficerKey, makeOfficerKey, officerKey } from './officerKey'
import { asked, inWords } from './passkeys'

const ASK_EACH_MS = 5_000

const STANDINGS: Record<DraftStanding, string> = {
  waiting: 'waits for officers', approved: 'approved by two', issued: 'issued', over: 'its 15 minutes are over', withdrawn: 'taken back',
}

export function EmergencyKeys({ house, changes, onDone }: { house: House; changes: number; onDone: () => void }) {
  const [drafts, setDrafts] = useState<EmergencyDraft[]>([])
  const [problem, setProblem] = useState<string | null>(null)
  const [mine, setMine] = useState<OfficerKey | null>(null)
  const { at } = house
  const read = useCallback(async () => {
    const told = await asked<{ drafts: EmergencyDraft[] }>('GET', `${at}/emergency-drafts`).catch(inWords)
    setProblem(typeof told === 'string' ? told : null)
    if (told !== null && typeof told !== 'string') setDrafts(told.drafts)
  }, [at])
  useEffect(() => {
    void read()
    const timer = setInterval(() => { if (!document.hidden) void read() }, ASK_EACH_MS)
    return () => clearInterval(timer)
  }, [read, changes])
  useEffect(() => void officerKey().then(setMine, () => setMine(null)), [])
  const done = () => { void read(); onDone() }
  return (
    <section aria-labelledby="emergency" className={styles['card']} data-testid="emergency">
      <h2 id="emergency" className={styles['heading']}>Emergency keys</h2>
      <p className={styles['dim']}>It opens for 15 minutes, a sealed room too, and over privacy where that is asked for. One person drafts it, two officers approve it, and every door concerned keeps a record.</p>
      <DraftForm house={house} onDone={done} />
      {problem !== null && <p role="alert" className={styles['problem']}>{problem}</p>}
      <ul className={styles['list']} aria-label="Drafts and keys of the last day">
        {drafts.map((draft) => <Draft key={draft.grant} house={house} draft={draft} mine={mine} onDone={done} />)}
      </ul>
      <Officer mine={mine} onMade={setMine} />
    </section>
  )
}

function DraftForm({ house, onDone }: { house: House; onDone: () => void }) {
  const [problem, setProblem] = useState<string | null>(null)
  const [isAsking, setAsking] = useState(false)
  const question = useRef(new Question())

  async function draft(event: FormEvent<HTMLFormElement>): Promise<void> {
    event.preventDefault()
    const [form, read] = [event.currentTarget, new FormData(event.currentTarget)]
    const text = (name: string) => String(read.get(name) ?? '').trim()
    const rooms = roomsOf(text('rooms'), house.rooms)
    const wrong = wrongPerson(text('person')) ?? (rooms === null ? 'Name rooms of this house, such as 101, 102.' : null) ?? wrongPoint(text('phone')) ?? wrongReason(text('reason'))
    setProblem(wrong)
    if (wrong !== null) return
    setAsking(true)
    const body = { person: text('person'), rooms, phone_public_key: text('phone'), reason: text('reason'), over_privacy: read.get('over_privacy') === 'on' }
    const made = await question.current.ask<EmergencyDraft>(`${house.at}/emergency-drafts`, body).catch(inWords)
    setAsking(false)
    if (typeof made === 'string') return setProblem(made)
    form.reset()
    onDone()
  }

  return (
    <details>
      <summary>Draft an emergency key</summary>
      <form onSubmit={(event) => void draft(event)} className={keyStyles['form']} aria-label="Draft an emergency key">
        <TextInput name="person" label="For whom" placeholder="anton" maxLength={40} autoComplete="off" />
        <TextInput name="rooms" label="Rooms" placeholder="101, 102" autoComplete="off" />
        <TextInput name="phone" label="Code of the phone" maxLength={66} autoComplete="off" spellCheck={false} />
        <TextInput name="reason" label="Why" maxLength={200} />
        <Checkbox name="over_privacy" label="Also over privacy and a thrown deadbolt" />
        {problem !== null && <p role="alert" className={styles['problem']}>{problem}</p>}
        <Button type="submit" color="red" loading={isAsking}>Draft it</Button>
      </form>
    </details>
  )
}

function Draft({ house, draft, mine, onDone }: { house: House; draft: EmergencyDraft; mine: OfficerKey | null; onDone: () => void }) {
  const [said, setSaid] = useState<string | null>(null)
  const [link, setLink] = useState<string | null>(null)
  const [isAsking, setAsking] = useState(false)
  const standing = standingOf(draft, Date.now())
  const path = `${house.at}/emergency-drafts/${draft.grant}`
  const isOfficer = mine !== null && draft.officers.includes(mine.kid)
  const hasSigned = mine !== null && draft.approvals.some(({ officer }) => officer === mine.kid)

  async function act(work: () => Promise<string | null>): Promise<void> {
    setAsking(true)
    setSaid(await work().catch(inWords))
    setAsking(false)
    onDone()
  }

  const approve = (key: OfficerKey) => act(async () => {
    await asked('POST', `${path}/approvals`, { officer: key.kid, signature: await key.sign(draft.statement) })
    return 'Approved with your officer’s key.'
  })
  const fetchKey = () => act(async () => {
    const { bundle } = await asked<{ bundle: unknown }>('POST', `${path}/key`)
    setLink(keyLink(bundle, document.baseURI))
    return null
  })
  const takeBack = () => act(async () => {
    await asked('DELETE', path)
    return null
  })

  const isOpen = standing === 'waiting' || standing === 'approved' || standing === 'issued'
  return (
    <li className={styles['card']} data-draft={draft.grant} data-standing={standing}>
      <div className={styles['line']}>
        <strong>{draft.doors.join(', ')} for {draft.person}</strong>
        <span>{STANDINGS[standing]} · until {house.time(draft.until)}</span>
      </div>
      <p className={styles['asked']}><Icon name="warning" /> “{draft.reason}”, drafted by {draft.drafted_by}</p>
      <p className={styles['dim']}>
        {draft.approvals.length} of {APPROVALS} officers{draft.approvals.length > 0 && `: ${draft.approvals.map(({ by, officer }) => `${by} (${officer})`).join(', ')}`}
        {draft.withdrawn_by !== null && ` · taken back by ${draft.withdrawn_by}`}
      </p>
      {isOpen && (
        <div className={styles['actions']}>
          {standing === 'waiting' && isOfficer && !hasSigned && <Button size="xs" loading={isAsking} onClick={() => void approve(mine)}>Approve as an officer</Button>}
          {standing === 'approved' && <Button size="xs" loading={isAsking} onClick={() => void fetchKey()}>Make the key</Button>}
          <Button size="xs" variant="default" loading={isAsking} onClick={() => void takeBack()} aria-label={`Take back ${draft.doors.join(', ')} for ${draft.person}`}>Take it back</Button>
        </div>
      )}
      {link !== null && <MadeLink link={link} />}
      {said !== null && <p role="status" className={styles['dim']}>{said}</p>}
    </li>
  )
}

/** A bundle as a link for the one phone that it was made for. It is shown this once: nobody keeps it. */
export function MadeLink({ link }: { link: string }) {
  const [said, setSaid] = useState<string | null>(null)
  return (
    <div className={styles['made']}>
      <p>Open this on the phone that it was made for. It is shown this once, and no other phone can use it.</p>
      <output data-testid="key-link" className={styles['address']}>{link}</output>
      <Button size="xs" variant="default" onClick={() => void navigator.clipboard.writeText(link).then(() => setSaid('Copied.'), () => setSaid('This browser does not let the page copy: select the link and copy it.'))}>Copy</Button>
      {said !== null && <p role="status" className={styles['dim']}>{said}</p>}
    </div>
  )
}

/** The officer's own key, in this browser alone. */
function Officer({ mine, onMade }: { mine: OfficerKey | null; onMade: (key: OfficerKey) => void }) {
  const [problem, setProblem] = useState<string | null>(null)
  const make = () => makeOfficerKey().then(onMade, () => setProblem('This browser lets this page keep nothing, so it cannot hold an officer’s key.'))
  return (
    <details>
      <summary>Your officer’s key</summary>
      {mine === null ? (
        <>
          <p className={styles['dim']}>Officers approve with a key that is made in their own browser and never leaves it. Whoever runs the building writes its code into <code>officers</code> of doors.toml.</p>
          <Button size="xs" variant="default" onClick={() => void make()}>Make one in this browser</Button>
        </>
      ) : (
        <>
          <p className={styles['dim']}>This browser holds officer’s key <code>{mine.kid}</code>. Its code for <code>officers</code> in doors.toml:</p>
          <code className={keyStyles['code']} data-testid="officer-code">{mine.point}</code>
        </>
      )}
      {problem !== null && <p role="alert" className={styles['problem']}>{problem}</p>}
    </details>
  )
}
