/** The page: a bar, what stands in the way, the doors, and what there is to know about the key. */
import { Icon, type IconName } from '@innkeeper/ui/icons'
import { type ReactNode, useEffect, useId, useState, useSyncExternalStore } from 'react'
import { About, Arrive } from './About'
import { DoorCard } from './DoorCard'
import type { Arrival, CheckInInvitation } from './arrival'
import type { Guest, GuestState } from './guest'
import { beginsMs, endsMs, type Holding, standingOf } from './holdings'
import { StayKeys } from './keys/StayKeys'
import { LateCheckOut } from './late/LateCheckOut'
import { OtherDoors } from './OtherDoors'
import { CheckIn } from './session/CheckIn'
import type { Walk } from './session/walk'
import type { Problem } from './session/wire'
import { sessionWords } from './session/words'
import { useSurroundings } from './surroundings'
import { LANGUAGES, saidDoor } from './words'

export type OnArrival = (arrival: Arrival) => void

export function App({ guest, walk, onArrival }: { guest: Guest; walk: Walk; onArrival: OnArrival }) {
  const state = useSyncExternalStore(guest.subscribe, () => guest.state)
  const { session, isBeginning, problem, isStrayed } = useSyncExternalStore(walk.subscribe, () => walk.state)
  const { words } = useSurroundings()
  const isWelcome = state.holdings.length === 0 && state.others.length === 0
  const doors = [
    ...state.others.map((others) => <OtherDoors key={others.id} guest={guest} state={state} others={others} />),
    ...state.holdings.map((holding) => <HoldingDoors key={holding.id} guest={guest} state={state} holding={holding} />),
  ]
  const notices = (
    <>
      {isStrayed && <Strayed />}
      <WalkNotice walk={walk} isBeginning={isBeginning} problem={session === null ? problem : null} onArrival={onArrival} />
      <TakingNotice state={state} onArrival={onArrival} />
    </>
  )
  useEffect(() => { if (session === null) document.title = words.title }, [session, words])
  if (session !== null) {
    return (
      <>
        <TopBar />
        <CheckIn walk={walk} onKeys={() => { if (walk.invitation !== null) void keysOf(guest, walk, walk.invitation) }} notices={notices} doors={doors} />
        <Announcer state={state} />
      </>
    )
  }
  return (
    <>
      <TopBar />
      <main className={isWelcome ? 'page page-narrow' : 'page'}>
        {isWelcome ? (
          <Welcome state={state} notices={notices} onArrival={onArrival} />
        ) : (
          <>
            <div className="column">
              <h1 className="title">{words.title}</h1>
              {notices}
              {state.holdings.length > 0 && <RadioNotice state={state} />}
              {doors}
              {linksOf(state).map((from) => <LateCheckOut key={from.token} guest={guest} from={from} nowMs={state.nowMs} />)}
              {linksOf(state).map((from) => <StayKeys key={from.token} guest={guest} from={from} nowMs={state.nowMs} />)}
            </div>
            <About guest={guest} state={state} onArrival={onArrival} />
          </>
        )}
      </main>
      <Announcer state={state} />
    </>
  )
}

/** The links that this phone's keys came by, each once: one a stay. */
function linksOf({ holdings, others }: GuestState): CheckInInvitation[] {
  const links = [...holdings, ...others].map(({ from }) => from).filter((from) => from !== null)
  return [...new Map(links.map((from) => [from.token, from])).values()]
}

/** The last step: the keys for this phone. With them the check-in is over; without, it may have more to ask. */
async function keysOf(guest: Guest, walk: Walk, invitation: CheckInInvitation): Promise<void> {
  await guest.take({ kind: 'check-in', invitation })
  if (guest.state.taking.kind === 'taken') walk.leave()
  else await walk.look()
}

/** Back from paying in another browser than the one that left: the check-in is with the link, not here. */
function Strayed() {
  const { words } = useSurroundings()
  const { pay } = sessionWords(words.tag)
  return <div role="status"><Notice tone="info" icon="link" title={pay.strayed} name="strayed"><p>{pay.strayedHint}</p></Notice></div>
}

/** What keeps a link's check-in from opening, and how to try again. */
function WalkNotice({ walk, isBeginning, problem, onArrival }: { walk: Walk; isBeginning: boolean; problem: Problem | null; onArrival: OnArrival }) {
  const { words, time } = useSurroundings()
  const said = sessionWords(words.tag)
  const { invitation } = walk
  if (isBeginning) return <div role="status"><Notice tone="info" icon="clock" title={said.beginning} name="beginning" /></div>
  if (problem === null || invitation === null) return null
  if (problem.kind === 'front_desk') return <div role="status"><Notice tone="warn" icon="person" title={said.frontDesk} name="front-desk" /></div>
  const trouble = problem.kind === 'line' ? problem.trouble : 'strange'
  return (
    <div role="status">
      <Notice tone="warn" icon="warning" title={words.checkIn[trouble]} name={`refused-${trouble}`}>
        {problem.kind === 'line' && problem.fromMs !== null && <p>{words.checkInFrom(time(problem.fromMs, Date.now()))}</p>}
        <button type="button" className="quiet" onClick={() => onArrival({ kind: 'check-in', invitation })}>{words.tryAgain}</button>
      </Notice>
    </div>
  )
}

export function NoStorePage() {
  const { words } = useSurroundings()
  return (
    <>
      <TopBar />
      <main className="page page-narrow">
        <h1 className="title">{words.title}</h1>
        <Notice tone="bad" icon="warning" title={words.noStore}>{words.toDesk}</Notice>
      </main>
    </>
  )
}

const SCHEME_ICONS: Record<'auto' | 'light' | 'dark', IconName> = { auto: 'screen', light: 'sun', dark: 'moon' }

function TopBar() {
  const { words, speak, scheme, nextScheme } = useSurroundings()
  const id = useId()
  return (
    <header className="bar">
      <img src="./icon.svg" alt="" width={28} height={28} />
      <span className="bar-name">Innkeeper</span>
      <label className="hidden" htmlFor={id}>{words.language}</label>
      <select id={id} className="language" value={words.tag} onChange={(event) => speak(event.currentTarget.value)}>
        {LANGUAGES.map(({ tag, name }) => <option key={tag} value={tag} lang={tag}>{name}</option>)}
      </select>
      <button type="button" className="scheme" aria-label={words.colours[scheme]} title={words.colours[scheme]} onClick={nextScheme}>
        <Icon name={SCHEME_ICONS[scheme]} size={20} />
      </button>
    </header>
  )
}

export function Notice({ tone, icon, title, children, name }: { tone: 'good' | 'warn' | 'bad' | 'info'; icon: IconName; title: string; children?: ReactNode; name?: string }) {
  return (
    <section className={`notice notice-${tone}`} data-notice={name}>
      <span className="notice-icon"><Icon name={icon} size={22} /></span>
      <div>
        <p className="notice-title">{title}</p>
        {children !== undefined && <div className="notice-text">{children}</div>}
      </div>
    </section>
  )
}

function Welcome({ state, notices, onArrival }: { state: GuestState; notices: ReactNode; onArrival: OnArrival }) {
  const { words } = useSurroundings()
  return (
    <>
      <div className="welcome">
        <span className="welcome-icon"><Icon name="lock" size={34} /></span>
        <h1 className="title">{words.welcome}</h1>
        <p className="lead">{words.welcomeHint}</p>
      </div>
      {notices}
      {state.radio === 'unsupported' && <RadioNotice state={state} />}
      <Arrive state={state} onArrival={onArrival} />
    </>
  )
}

/** What stands between this phone and every door, or how to stand at one. */
function RadioNotice({ state }: { state: GuestState }) {
  const { words } = useSurroundings()
  if (state.radio === 'off') return <Notice tone="warn" icon="linkOff" title={words.bluetoothOff} name="bluetooth-off">{words.bluetoothOffHint}</Notice>
  if (state.radio !== 'unsupported') return null
  return (
    <Notice tone="warn" icon="linkOff" title={words.unsupported} name="unsupported">
      <p>{words.unsupportedHint}</p>
      <p>{words.noRemote}</p>
    </Notice>
  )
}

function TakingNotice({ state, onArrival }: { state: GuestState; onArrival: OnArrival }) {
  const { words, time } = useSurroundings()
  const { taking } = state
  switch (taking.kind) {
    case 'idle':
      return null
    case 'taking':
      return <Notice tone="info" icon="clock" title={words.taking} name="taking" />
    case 'taken':
      return state.holdings.length === 0 ? null : <Notice tone="good" icon="check" title={words.taken} name="taken" />
    case 'failed':
      return <Notice tone="bad" icon="warning" title={words.arrival[taking.trouble]} name={`failed-${taking.trouble}`} />
    case 'refused':
      return (
        <Notice tone="warn" icon="warning" title={words.checkIn[taking.trouble]} name={`refused-${taking.trouble}`}>
          {taking.fromMs !== null && <p>{words.checkInFrom(time(taking.fromMs, state.nowMs))}</p>}
          <button type="button" className="quiet" onClick={() => onArrival({ kind: 'check-in', invitation: taking.invitation })}>{words.tryAgain}</button>
        </Notice>
      )
  }
}

function HoldingDoors({ guest, state, holding }: { guest: Guest; state: GuestState; holding: Holding }) {
  const { words, time } = useSurroundings()
  const standing = standingOf(holding, state.nowMs)
  const [begins, ends] = [time(beginsMs(holding), state.nowMs), time(endsMs(holding), state.nowMs)]
  return (
    <section className="holding" data-holding={holding.id} data-standing={standing} aria-label={holding.bundle.doors.map((door) => saidDoor(door.label, words)).join(', ')}>
      {standing === 'valid' && (
        <p className="validity"><Icon name="clock" size={16} />{words.until(ends)}</p>
      )}
      {standing === 'pending' && <Notice tone="info" icon="clock" title={words.startsAt(begins)} name="pending">{words.startsHint}</Notice>}
      {standing === 'ended' && <Notice tone="warn" icon="clock" title={words.endedAt(ends)} name="ended">{words.endedHint}</Notice>}
      {standing === 'needs_verification' && <Notice tone="warn" icon="person" title={words.needsVerification} name="needs-verification" />}
      <ul className="doors" aria-label={words.doors}>
        {holding.bundle.doors.map((door, at) => (
          <DoorCard key={door.door} guest={guest} state={state} holding={holding} door={door} isFirst={at === 0} isUsable={standing === 'valid'} />
        ))}
      </ul>
    </section>
  )
}

/** Says to a screen reader what the eye sees change. */
function Announcer({ state }: { state: GuestState }) {
  const { words } = useSurroundings()
  const [said, setSaid] = useState('')
  const { doing, openings, taking, radio, holdings, remote, remotes } = state
  useEffect(() => {
    if (remote !== null) return setSaid(`${words.remote.asking}.`)
    if (doing !== null) return setSaid(`${words.phases[doing.phase]}.`)
    const afar = [...remotes.values()].at(-1)
    if (afar !== undefined) return setSaid(words.remote.said[afar.said])
    const last = [...openings.values()].at(-1)
    if (last !== undefined) return setSaid(last.cause === null ? words.opened : saidCause(last.cause, words))
    if (taking.kind === 'failed') return setSaid(words.arrival[taking.trouble])
    if (taking.kind === 'refused') return setSaid(words.checkIn[taking.trouble])
    if (taking.kind === 'taking') return setSaid(words.taking)
    if (taking.kind === 'taken') return setSaid(holdings.length === 0 ? words.others.title : words.taken)
    setSaid(radio === 'off' ? `${words.bluetoothOff}.` : radio === 'unsupported' ? `${words.unsupported}.` : '')
  }, [doing, openings, taking, radio, holdings.length, remote, remotes, words])
  return <div className="hidden" role="status" aria-live="polite" data-testid="announcer">{said}</div>
}

export function saidCause(cause: string, { reasons, troubles }: ReturnType<typeof useSurroundings>['words']): string {
  return cause in reasons ? reasons[cause as keyof typeof reasons] : troubles[cause as keyof typeof troubles]
}
