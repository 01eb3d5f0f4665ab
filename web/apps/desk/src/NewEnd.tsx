/** When a guest in house leaves: said by the clock of the house, and held against what it was. */
import { Icon } from '@innkeeper/ui/icons'
import { type FormEvent, useEffect, useState } from 'react'
import { Problem, useAct } from './acts'
import type { Desk } from './desk'
import type { Stay } from './house'
import { useSpoken } from './spoken'
import { daysOn, momentOf, UTC, type Wall, wallOf } from './zone'

export function NewEnd({ desk, stay }: { desk: Desk; stay: Stay }) {
  const { words: { end: said }, time, zone: known } = useSpoken()
  const zone = known ?? UTC
  const named = known === null ? ` (${UTC})` : ''
  const before = wallOf(stay.untilMs, zone)
  const [asked, setAsked] = useState<Wall | null>(null) // null: nothing was asked for, and what stands is shown
  const { isAtWork, came, act } = useAct<null>()
  const [done, setDone] = useState<{ atMs: number; isLonger: boolean } | null>(null)
  useEffect(() => setAsked(null), [stay.untilMs]) // it ends at another time now: what was being asked for was of the old one
  const wall = asked ?? before
  const isSame = wall.date === before.date && wall.time === before.time
  const atMs = isSame ? stay.untilMs : momentOf(wall, zone)
  const houseMs = desk.houseMs()
  const isDone = came?.kind === 'done' && done !== null && done.atMs === atMs // the list may not say it yet
  const wrong = isSame ? null : atMs === null ? said.bad : houseMs !== null && atMs <= houseMs ? said.past : null
  const change = (to: (now: Wall) => Wall): void => setAsked(to(wall))
  async function save(event: FormEvent): Promise<void> {
    event.preventDefault()
    if (atMs === null || wrong !== null || isSame || isDone) return
    const told = await act({ kind: 'end', stay, untilMs: atMs }, () => desk.endAt(stay.id, atMs))
    if (told?.kind === 'done') setDone({ atMs, isLonger: atMs > stay.untilMs })
  }
  return (
    <section className="card" aria-labelledby="end">
      <h3 id="end">{said.title}</h3>
      <p className="dim">{known === null ? said.leadUtc : said.lead}</p>
      <form className="form" noValidate onSubmit={(event) => void save(event)}>
        <div className="acts">
          <button type="button" className="act" onClick={() => change((now) => daysOn(now, 1))}>{said.longer}</button>
          <button type="button" className="act" onClick={() => change((now) => daysOn(now, -1))}>{said.shorter}</button>
        </div>
        <div className="pair">
          <div className="field">
            <label htmlFor="end-date">{said.date}{named}</label>
            <input id="end-date" type="date" className="input" required aria-invalid={wrong !== null} aria-describedby="end-says" value={wall.date} onChange={({ currentTarget: { value } }) => change((now) => ({ ...now, date: value }))} />
          </div>
          <div className="field">
            <label htmlFor="end-time">{said.time}{named}</label>
            <input id="end-time" type="time" className="input" required aria-invalid={wrong !== null} aria-describedby="end-says" value={wall.time} onChange={({ currentTarget: { value } }) => change((now) => ({ ...now, time: value }))} />
          </div>
        </div>
        <p id="end-says" role="status" className={wrong === null ? 'dim' : 'wrong'} data-testid="end-says">{wrong ?? (isSame || isDone || atMs === null ? said.same : said.will(time(stay.untilMs), time(atMs)))}</p>
        {!isSame && !isDone && wrong === null && atMs !== null && <p className="note"><Icon name="lock" size={20} /><span>{atMs > stay.untilMs ? said.keys : said.shorterKeys}</span></p>}
        <Problem came={came} />
        {isDone && <p role="status" className="good" data-testid="end-done"><Icon name="check" size={20} /><span>{said.done(time(done.atMs))} {done.isLonger ? said.keys : said.shorterKeys}</span></p>}
        <button type="submit" className="act act-first" aria-disabled={isAtWork || isSame || isDone || wrong !== null}>{isAtWork ? said.saving : said.save}</button>
      </form>
    </section>
  )
}
