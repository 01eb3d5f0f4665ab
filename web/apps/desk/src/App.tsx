/**
 * The desk while the internet is away: who is in house and who comes, as the building knows it, and what the desk does for them.
 *
 * Whoever signs in has the desk's token; it is this tab's, and nobody's touch for twenty minutes ends it.
 */
import { Icon } from '@innkeeper/ui/icons'
import { type FormEvent, memo, useCallback, useEffect, useId, useMemo, useRef, useState, useSyncExternalStore } from 'react'
import { type Deed, NewsContext } from './acts'
import { type Desk, LOOK_EACH_MS, type Outcome, type Trouble } from './desk'
import type { Stay } from './house'
import { LineStrip } from './LineStrip'
import { type News, NewsList } from './News'
import { found } from './search'
import { SpokenContext, useLanguage, useScheme, useSpoken, useTick } from './spoken'
import { StayPanel } from './StayPanel'
import { LANGUAGES } from './words'

const TOUCHES = ['pointerdown', 'keydown', 'wheel'] as const
const RETURNS = ['focus', 'pageshow', 'visibilitychange'] as const
const IDLE_LOOK_MS = 5_000
/** What the words call the token's file (edge/app/run.py): said in one piece. */
const FILE = 'desk-token'

export function App({ desk, house }: { desk: Desk; house: URL }) {
  const state = useSyncExternalStore(desk.subscribe, () => desk.state)
  const houseMs = useCallback(() => desk.houseMs(), [desk])
  const said = useLanguage(state.about?.zone ?? null, houseMs)
  useScheme()
  return (
    <SpokenContext value={said}>
      <div className="desk" data-desk={state.by === null ? 'sign-in' : 'house'}>
        <Bar name={state.about?.name ?? null} by={state.by} onLeave={() => desk.signOut()} />
        {state.by === null ? <SignIn desk={desk} trouble={state.trouble} isAsking={state.isSigningIn} /> : <House key={state.by} desk={desk} house={house} />}
      </div>
    </SpokenContext>
  )
}

function Bar({ name, by, onLeave }: { name: string | null; by: string | null; onLeave: () => void }) {
  const { words, speak } = useSpoken()
  const id = useId()
  return (
    <header className="bar">
      <img src="./icon.svg" alt="" width={32} height={32} />
      <p className="bar-name"><bdi>{name ?? 'Innkeeper'}</bdi></p>
      <label className="hidden" htmlFor={id}>{words.language}</label>
      <select id={id} className="language" value={words.tag} onChange={(event) => speak(event.currentTarget.value)}>
        {LANGUAGES.map((each) => <option key={each.tag} value={each.tag} lang={each.tag}>{each.name}</option>)}
      </select>
      {by !== null && (
        <div className="bar-who">
          <span className="dim"><Icon name="person" size={18} /><bdi data-testid="by">{by}</bdi></span>
          <button type="button" className="quiet" onClick={onLeave}>{words.signOut}</button>
        </div>
      )}
    </header>
  )
}

function SignIn({ desk, trouble, isAsking }: { desk: Desk; trouble: Trouble | null; isAsking: boolean }) {
  const { words: { signIn: said } } = useSpoken()
  const [missing, setMissing] = useState<readonly string[]>([])
  const [isSeen, setSeen] = useState(false)
  const form = useRef<HTMLFormElement>(null)
  useEffect(() => { form.current?.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus() }, [missing, trouble])

  async function submit(event: FormEvent<HTMLFormElement>): Promise<void> {
    event.preventDefault()
    const data = new FormData(event.currentTarget)
    const [by, token] = [String(data.get('by')), String(data.get('token'))]
    const empty = [...(by.trim() === '' ? ['by'] : []), ...(token.trim() === '' ? ['token'] : [])]
    setMissing(empty)
    if (empty.length === 0) await desk.signIn(token, by)
  }

  const words = trouble === null ? null : { wrong: said.wrong, name: said.badName, away: said.away, ended: said.ended, idle: said.idle }[trouble]
  const [before, after] = said.tokenHint.split(FILE)
  const isWrong = { by: missing.includes('by') || trouble === 'name', token: missing.includes('token') || trouble === 'wrong' }
  return (
    <main className="narrow">
      <h1 className="title">{said.title}</h1>
      <p className="dim">{said.lead}</p>
      <form ref={form} className="card form" noValidate onSubmit={(event) => void submit(event)}>
        {words !== null && <p role="alert" className="problem" data-trouble={trouble}><Icon name="warning" size={20} /><span>{words}</span></p>}
        <div className="field">
          <label htmlFor="by">{said.by}</label>
          <p id="by-hint" className="dim">{said.byHint}</p>
          <input id="by" name="by" className="input" dir="auto" maxLength={80} autoComplete="name" aria-required aria-invalid={isWrong.by} aria-describedby="by-hint" />
          {missing.includes('by') && <p className="wrong">{said.missing}</p>}
        </div>
        <div className="field">
          <label htmlFor="token">{said.token}</label>
          <p id="token-hint" className="dim">{before}{after !== undefined && <><code className="whole" dir="ltr">{FILE}</code>{after}</>}</p>
          <input id="token" name="token" type={isSeen ? 'text' : 'password'} spellCheck={false} autoCapitalize="none" className="input" dir="ltr" maxLength={600} autoComplete="off" aria-required aria-invalid={isWrong.token} aria-describedby="token-hint" />
          {missing.includes('token') && <p className="wrong">{said.missing}</p>}
          <button type="button" className="quiet seen" aria-pressed={isSeen} onClick={() => setSeen(!isSeen)}>{isSeen && <Icon name="check" size={18} />}{said.show}</button>
        </div>
        <button type="submit" className="act act-first" aria-disabled={isAsking}>{isAsking ? said.going : said.go}</button>
      </form>
    </main>
  )
}

function House({ desk, house }: { desk: Desk; house: URL }) {
  const state = useSyncExternalStore(desk.subscribe, () => desk.state)
  const { words, time, ago, count, zone } = useSpoken()
  const [search, setSearch] = useState('')
  const [news, setNews] = useState<readonly News[]>([])
  const [chosen, setChosen] = useState<string | null>(null)
  const list = useRef<HTMLElement>(null)
  const newsSoFar = useRef(0)
  const tell = useCallback((deed: Deed, came: Outcome<unknown>) => {
    const id = ++newsSoFar.current
    setNews((before) => [{ id, deed, came }, ...before]) // the newest is seen first, however small the screen
  }, [])
  useTick(5_000)
  useEffect(() => {
    const look = (): void => void desk.look()
    look()
    const timer = setInterval(look, LOOK_EACH_MS)
    // whoever comes back to the page sees what is, not what was; or nothing, if he was away for long
    for (const event of RETURNS) window.addEventListener(event, look)
    return () => {
      clearInterval(timer)
      for (const event of RETURNS) window.removeEventListener(event, look)
    }
  }, [desk])
  useEffect(() => {
    const touched = (): void => desk.touch()
    for (const event of TOUCHES) document.addEventListener(event, touched, { capture: true, passive: true })
    const timer = setInterval(() => desk.isOver(), IDLE_LOOK_MS)
    return () => {
      clearInterval(timer)
      for (const event of TOUCHES) document.removeEventListener(event, touched, { capture: true })
    }
  }, [desk])

  const stays = state.stays?.stays
  const groups = useMemo(() => found(stays ?? [], search), [stays, search])
  const stay = stays?.find(({ id }) => id === chosen) ?? null
  const back = (): void => {
    const before = chosen
    setChosen(null)
    requestAnimationFrame(() => [...(list.current?.querySelectorAll<HTMLElement>('[data-stay]') ?? [])].find((each) => each.dataset['stay'] === before)?.focus())
  }
  const isEmpty = groups.inHouse.length + groups.coming.length + groups.gone.length === 0
  const asOfMs = state.stays?.asOfMs ?? null
  const houseMs = desk.houseMs()
  return (
    <NewsContext value={tell}>
      <NewsList news={news} onClose={(id) => setNews((before) => before.filter((each) => each.id !== id))} />
      <main className={chosen === null ? 'house' : 'house house-chosen'}>
        <h1 className="hidden">{words.title}</h1>
        <LineStrip link={state.link} isAway={state.isAway} ageMs={desk.ageMs()} />
        {state.about !== null && zone === null && <p className="problem wide" data-testid="utc"><Icon name="clock" size={20} /><span>{words.list.utc}</span></p>}
        <section ref={list} className="list" aria-label={words.stay.back}>
          <div className="field">
            <label htmlFor="search">{words.list.search}</label>
            <input id="search" type="search" className="input" dir="auto" autoComplete="off" placeholder={words.list.searchHint} value={search} onChange={(event) => setSearch(event.currentTarget.value)} />
          </div>
          {state.stays === null ? <p className="dim" role="status">{words.line.reading}</p> : (
            <>
              <p className="dim" data-testid="as-of">{asOfMs === null || houseMs === null ? words.list.never : words.list.asOf(time(asOfMs), ago(houseMs - asOfMs))}</p>
              {state.stays.unread > 0 && <p className="problem"><Icon name="warning" size={20} /><span>{words.list.unread(count(state.stays.unread))}</span></p>}
              <p role="status" className={isEmpty ? undefined : 'hidden'}>{isEmpty ? (search.trim() === '' ? words.list.empty : words.list.noneFound) : count(groups.inHouse.length + groups.coming.length + groups.gone.length)}</p>
              <Group name={words.list.inHouse} stays={groups.inHouse} chosen={chosen} onChoose={setChosen} />
              <Group name={words.list.coming} stays={groups.coming} chosen={chosen} onChoose={setChosen} />
              <Group name={words.list.gone} stays={groups.gone} chosen={chosen} onChoose={setChosen} />
            </>
          )}
        </section>
        <section className="panel" aria-label={stay?.guest ?? words.stay.id}>
          {chosen === null ? <p className="dim panel-empty">{words.list.choose}</p> : <StayPanel key={chosen} desk={desk} house={house} id={chosen} stay={stay} onBack={back} />}
        </section>
      </main>
    </NewsContext>
  )
}

const Group = memo(function Group({ name, stays, chosen, onChoose }: { name: string; stays: readonly Stay[]; chosen: string | null; onChoose: (stay: string) => void }) {
  const { words, time, count } = useSpoken()
  if (stays.length === 0) return null
  return (
    <>
      <h2 className="group">{name} <span className="dim">{count(stays.length)}</span></h2>
      <ul className="stays">
        {stays.map((stay) => (
          <li key={stay.id}>
            <button type="button" className="stay" data-stay={stay.id} aria-current={stay.id === chosen ? 'true' : undefined} onClick={() => onChoose(stay.id)}>
              <span className="stay-room"><bdi>{stay.room ?? '–'}</bdi></span>
              <span className="stay-who">
                <strong><bdi>{stay.guest ?? words.list.noGuest}</bdi></strong>
                <span className="dim">{stay.state === 'planned' || stay.state === 'ready' ? `${words.stay.from} ${time(stay.fromMs)}` : stay.state === 'in_house' ? `${words.stay.until} ${time(stay.untilMs)}` : words.stay[stay.state]}</span>
              </span>
              {stay.isAhead && <span className="tag"><Icon name="clock" size={16} />{words.list.ahead}</span>}
            </button>
          </li>
        ))}
      </ul>
    </>
  )
})
