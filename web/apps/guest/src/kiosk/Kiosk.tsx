/**
 * The kiosk: a guest begins with his booking's code and name, goes through the same check-in as on his phone, and is forgotten.
 *
 * Nothing of him is kept by the browser: no storage, no history, no form that the next guest could read. What was done is the
 * cloud's. Joined to its house it reads documents, gives key cards and prints receipts there, and checks guests in there
 * while the cloud is away; what it cannot do it says, and sends to the desk.
 */
import { Icon } from '@innkeeper/ui/icons'
import { qrOf, qrPath } from '@innkeeper/ui/qr'
import { type FormEvent, type ReactNode, useCallback, useEffect, useId, useRef, useState, useSyncExternalStore } from 'react'
import { Notice } from '../App'
import type { Fetch } from '../checkIn'
import { CheckIn } from '../session/CheckIn'
import type { Walk } from '../session/walk'
import { useSurroundings } from '../surroundings'
import { LANGUAGES } from '../words'
import { ASKED_MS, DONE_MS, idleAt, IDLE_MS, READ_MS } from './idle'
import { type Edge, NOTHING, type Peripherals, peripheralsAt, takeDocument } from './edge'
import { FromReader, KeyCard, Receipt } from './house'
import { beginAlone, beginVisit, endVisit, phoneLink, type Place, type Trouble } from './line'
import { kioskWords } from './words'

const TOUCHES = ['pointerdown', 'keydown', 'input', 'wheel'] as const
const LOOK_EACH_MS = 1_000

export interface KioskProps {
  place: Place | null
  /** The house that it is joined to; null: it has no peripherals, and needs the cloud. */
  edge: Edge | null
  walk: Walk
  root: URL
  fetch: Fetch
  nowMs: () => number
  /** The language that the house's guests are met in. */
  language: string
}

export function Kiosk(props: KioskProps) {
  const { place, edge, walk, root, fetch, language } = props
  const { session, problem, isBeginning } = useSyncExternalStore(walk.subscribe, () => walk.state)
  const { words, speak } = useSurroundings()
  const said = kioskWords(words.tag)
  const [guests, setGuests] = useState(0)
  const [here, setHere] = useState<Peripherals>(NOTHING)
  const [isAlone, setAlone] = useState(false)
  const [isAtWork, setAtWork] = useState(false)
  const [room, setRoom] = useState<string | null>(null)
  const visitRoot = isAlone && edge !== null ? edge.root : root
  const isOver = session?.isOver === true
  const isVisited = session !== null || isBeginning || problem !== null

  /** Forget the guest: his visit, his language, and whatever he typed. */
  const forget = useCallback(() => {
    const { invitation } = walk
    if (invitation !== null && walk.state.session !== null) void endVisit(invitation, visitRoot, fetch)
    walk.leave()
    walk.invitation = null
    speak(language)
    setGuests((before) => before + 1)
    setAlone(false)
    setAtWork(false)
    setRoom(null)
    window.scrollTo(0, 0)
  }, [walk, visitRoot, fetch, speak, language])

  // Asked anew for each guest: the house may have been away. What the last guest left on the reader is nobody's.
  useEffect(() => {
    if (edge === null) return undefined
    let isWanted = true
    void peripheralsAt(edge, fetch).then(async (found) => {
      if (found.reader !== null) await takeDocument(edge, found.reader, fetch)
      if (isWanted) setHere(found)
    })
    return () => { isWanted = false }
  }, [edge, fetch, guests])

  useEffect(() => { if (session === null) document.title = said.title }, [session, said])
  const trouble = session === null && problem !== null && problem.kind === 'line' ? words.checkIn[problem.trouble] : session === null && problem !== null ? said.troubles.strange : null
  return (
    <div className="kiosk" data-kiosk={place === null ? 'not-set-up' : isVisited ? 'visit' : 'begin'}>
      <Bar onLeave={isVisited ? forget : null} />
      {place === null ? (
        <main className="page page-narrow" data-notice="not-set-up"><h1 className="title">{said.notSetUp}</h1><p className="lead">{said.notSetUpHint}</p></main>
      ) : session !== null ? (
        <CheckIn walk={walk} onKeys={() => undefined} doors={null} notices={isAlone ? <Notice tone="info" icon="clock" title={said.alone} name="alone"><p>{said.aloneHint}</p></Notice> : null}
          atDesk={isAlone ? { title: said.atDesk, hint: said.atDeskHint } : undefined}
          reader={edge === null || here.reader === null ? undefined : <FromReader edge={edge} reader={here.reader} fetch={fetch} />}
          elsewhere={(what) => (
            <>
              {what === 'grant' && edge !== null && (session.keys === null ? here.cards || isAlone : session.keys.includes('card')) && (
                <KeyCard key={`${guests}-card`} edge={edge} walk={walk} root={visitRoot} fetch={fetch} onWork={setAtWork} onRoom={setRoom} />
              )}
              {what === 'over' && room !== null && <p className="kiosk-room" data-testid="room">{said.room} <strong><bdi>{room}</bdi></strong></p>}
              {what === 'over' && edge !== null && here.printer !== null && (
                <Receipt key={`${guests}-receipt`} edge={edge} printer={here.printer} session={session} room={room} fetch={fetch} onWork={setAtWork} />
              )}
              {(what !== 'grant' || !isAlone || session.keys?.includes('phone') === true) && (
                <Elsewhere key={`${guests}-${what}`} what={what} walk={walk} root={visitRoot} cloud={root} fetch={fetch} hasCard={room !== null} canCard={session.keys === null ? edge !== null && here.cards : session.keys.includes('card')} isAlone={isAlone} />
              )}
            </>
          )} />
      ) : trouble !== null ? (
        <main className="page page-narrow">
          <h1 className="title">{said.title}</h1>
          <div role="alert"><Notice tone="warn" icon="warning" title={trouble} name="refused"><p>{said.desk}</p></Notice></div>
          <button type="button" className="open open-first" onClick={forget}>{said.back}</button>
        </main>
      ) : (
        <Begin key={guests} {...props} place={place} onAlone={() => setAlone(true)} />
      )}
      {place !== null && <Idle key={`${guests}-${String(isOver)}-${String(isVisited)}-${String(isAtWork)}`} nowMs={props.nowMs} limitMs={!isOver || isAtWork ? IDLE_MS : room === null ? DONE_MS : READ_MS} asks={isVisited} onGone={forget} />}
    </div>
  )
}

function Bar({ onLeave }: { onLeave: (() => void) | null }) {
  const { words, speak } = useSurroundings()
  const id = useId()
  return (
    <header className="bar">
      <img src="./icon.svg" alt="" width={36} height={36} />
      <span className="bar-name">Innkeeper</span>
      <label className="hidden" htmlFor={id}>{words.language}</label>
      <select id={id} className="language" value={words.tag} onChange={(event) => speak(event.currentTarget.value)}>
        {LANGUAGES.map(({ tag, name }) => <option key={tag} value={tag} lang={tag}>{name}</option>)}
      </select>
      {onLeave !== null && <button type="button" className="quiet kiosk-leave" onClick={onLeave}>{kioskWords(words.tag).leave}</button>}
    </header>
  )
}

function Begin({ place, edge, walk, root, fetch, onAlone }: KioskProps & { place: Place; onAlone: () => void }) {
  const { words } = useSurroundings()
  const said = kioskWords(words.tag)
  const [missing, setMissing] = useState<readonly string[]>([])
  const [trouble, setTrouble] = useState<Trouble | null>(null)
  const [isAsking, setAsking] = useState(false)
  const form = useRef<HTMLFormElement>(null)
  const isHere = useRef(true)
  useEffect(() => {
    isHere.current = true
    return () => { isHere.current = false }
  }, [])
  useEffect(() => { if (missing.length > 0 || trouble === 'not_found') form.current?.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus() }, [missing, trouble])

  async function begin(event: FormEvent<HTMLFormElement>): Promise<void> {
    event.preventDefault()
    if (isAsking) return
    const data = new FormData(event.currentTarget)
    const [code, surname] = [String(data.get('booking_code')).trim(), String(data.get('surname')).trim()]
    const empty = [...(code === '' ? ['booking_code'] : []), ...(surname === '' ? ['surname'] : [])]
    setMissing(empty)
    setTrouble(null)
    if (empty.length > 0) return
    setAsking(true)
    let at = root
    let answer = await beginVisit(place, code, surname, root, fetch)
    if (edge !== null && isHere.current && answer.kind === 'refused' && answer.trouble === 'offline') {
      at = edge.root
      answer = await beginAlone(place.property, edge, code, surname, fetch)
    }
    // who has left meanwhile is not begun for
    if (!isHere.current) return answer.kind === 'visit' ? endVisit(answer.invitation, at, fetch) : undefined
    setAsking(false)
    if (answer.kind === 'refused') return setTrouble(answer.trouble)
    if (at !== root) onAlone()
    await walk.follow(answer.invitation, null, at)
  }

  const field = (name: string, label: string, hint: string | null): ReactNode => {
    const isWrong = missing.includes(name) || (trouble === 'not_found' && name === 'booking_code')
    return (
      <div className="field">
        <label htmlFor={`kiosk-${name}`}>{label}</label>
        {hint !== null && <p id={`kiosk-${name}-hint`} className="dim">{hint}</p>}
        <input id={`kiosk-${name}`} name={name} className="input" dir="auto" maxLength={80} autoComplete="off" autoCorrect="off" spellCheck={false}
          autoCapitalize={name === 'booking_code' ? 'characters' : 'words'} aria-required aria-invalid={isWrong} {...(hint === null ? {} : { 'aria-describedby': `kiosk-${name}-hint` })} />
        {missing.includes(name) && <p className="wrong">{said.missing}</p>}
      </div>
    )
  }
  return (
    <main className="page page-narrow">
      <h1 className="title">{said.title}</h1>
      <p className="lead">{said.lead}</p>
      <form ref={form} className="form screen" noValidate autoComplete="off" onSubmit={(event) => void begin(event)}>
        {field('booking_code', said.code, said.codeHint)}
        {field('surname', said.surname, null)}
        {trouble !== null && <div role="alert" className="wrong-box" data-trouble={trouble}><p>{said.troubles[trouble]}</p></div>}
        <button type="submit" className="open open-first" aria-disabled={isAsking}>{isAsking ? said.beginning : said.begin}</button>
      </form>
      <p className="dim">{said.desk}</p>
    </main>
  )
}

/** What is the phone's to do: its code, made when the guest asks for it. */
function Elsewhere({ what, walk, root, cloud, fetch, hasCard, canCard, isAlone }: { what: 'payment' | 'grant' | 'over'; walk: Walk; root: URL; cloud: URL; fetch: Fetch; hasCard: boolean; canCard: boolean; isAlone: boolean }) {
  const { words } = useSurroundings()
  const said = kioskWords(words.tag)
  const [link, setLink] = useState<string | null>(null)
  const [problem, setProblem] = useState(false)
  const [isAsking, setAsking] = useState(false)
  const shown = useRef<HTMLHeadingElement>(null)
  useEffect(() => { if (link !== null) shown.current?.focus() }, [link])

  async function make(): Promise<void> {
    if (walk.invitation === null || isAsking) return
    setAsking(true)
    const made = await phoneLink(walk.invitation, root, cloud, fetch)
    setAsking(false)
    setProblem(made === null)
    setLink(made)
  }

  if (what === 'over') return <p role="status">{hasCard ? said.overCard : said.over}</p>
  return (
    <>
      <p>{what === 'payment' ? said.payment : canCard ? said.grantOrPhone : said.grant}</p>
      {problem && <div role="alert" className="wrong-box"><p>{said.phoneAway}</p></div>}
      {link === null ? (
        <button type="button" className="open open-first" aria-disabled={isAsking} onClick={() => void make()}><Icon name="link" size={26} />{said.phone}</button>
      ) : (
        <div className="kiosk-phone" data-testid="phone">
          <h3 ref={shown} tabIndex={-1}>{said.phoneTitle}</h3>
          <p>{isAlone ? said.phoneAlone : said.phoneHint}</p>
          <Code text={link} label={said.phoneTitle} />
        </div>
      )}
    </>
  )
}

/** Dark on light in every colour scheme: cameras read no other. */
function Code({ text, label }: { text: string; label: string }) {
  const code = qrOf(text)
  const size = code.length + 8
  return (
    <svg className="kiosk-code" viewBox={`0 0 ${size} ${size}`} role="img" aria-label={label} data-link={text} shapeRendering="crispEdges">
      <rect width={size} height={size} fill="#fff" />
      <path d={qrPath(code)} fill="#000" />
    </svg>
  )
}

function Idle({ nowMs, limitMs, asks, onGone }: { nowMs: () => number; limitMs: number; asks: boolean; onGone: () => void }) {
  const { words } = useSurroundings()
  const said = kioskWords(words.tag)
  const [touchedMs, setTouchedMs] = useState(nowMs)
  const [idle, setIdle] = useState(() => idleAt(touchedMs, touchedMs, limitMs))
  const button = useRef<HTMLButtonElement>(null)
  useEffect(() => {
    const touched = (): void => {
      setTouchedMs(nowMs())
      setIdle({ kind: 'there' })
    }
    for (const event of TOUCHES) document.addEventListener(event, touched, { capture: true, passive: true })
    return () => { for (const event of TOUCHES) document.removeEventListener(event, touched, { capture: true }) }
  }, [nowMs])
  useEffect(() => {
    const timer = setInterval(() => setIdle(idleAt(touchedMs, nowMs(), limitMs)), LOOK_EACH_MS)
    return () => clearInterval(timer)
  }, [touchedMs, nowMs, limitMs])
  useEffect(() => { if (idle.kind === 'gone') onGone() }, [idle.kind, onGone])
  useEffect(() => { if (idle.kind === 'asked') button.current?.focus() }, [idle.kind])
  if (idle.kind !== 'asked' || !asks) return null
  return (
    <div className="kiosk-still" role="alertdialog" aria-modal="true" aria-labelledby="still" aria-describedby="still-hint">
      <div className="screen">
        <h2 id="still" className="screen-title">{said.still}</h2>
        <p id="still-hint">{said.stillHint(Math.min(ASKED_MS / 1_000, Math.ceil(idle.leftMs / 1_000)))}</p>
        <button ref={button} type="button" className="open open-first">{said.here}</button>
      </div>
    </div>
  )
}
