/** One stay: what the building knows of it, and what the desk does about it. Each act says what came of it, or that nobody knows. */
import { Icon } from '@innkeeper/ui/icons'
import { type ReactNode, useEffect, useRef, useState } from 'react'
import { Problem, useAct, useKeptFocus } from './acts'
import type { Desk } from './desk'
import type { Stay } from './house'
import { NewEnd } from './NewEnd'
import { PhoneCode } from './PhoneCode'
import { PhoneKeys } from './PhoneKeys'
import { useSpoken } from './spoken'

export function StayPanel({ desk, house, id, stay, onBack }: { desk: Desk; house: URL; id: string; stay: Stay | null; onBack: () => void }) {
  const { words, time } = useSpoken()
  const heading = useRef<HTMLHeadingElement>(null)
  useEffect(() => heading.current?.focus(), [])
  const panel = useRef<HTMLDivElement>(null)
  useKeptFocus(panel, heading)
  const said = words.stay
  const isHere = stay?.state === 'in_house'
  const isComing = stay?.state === 'planned' || stay?.state === 'ready'
  return (
    <div ref={panel} className="stay-panel" data-panel={id}>
      <button type="button" className="quiet back" onClick={onBack}><Icon name="back" size={20} />{said.back}</button>
      <h2 ref={heading} tabIndex={-1} className="title"><bdi>{stay === null ? id : (stay.guest ?? words.list.noGuest)}</bdi></h2>
      {stay === null ? <p role="status">{said.vanished}</p> : (
        <>
          <dl className="facts">
            <Fact name={said.room}><strong className="room"><bdi>{stay.room ?? words.list.noRoom}</bdi></strong></Fact>
            <Fact name={said.state}><span data-testid="state">{said[stay.state]}</span></Fact>
            <Fact name={said.from}>{time(stay.fromMs)}</Fact>
            <Fact name={said.until}><span data-testid="until">{time(stay.untilMs)}</span></Fact>
            {stay.booking !== '' && <Fact name={said.booking}><bdi>{stay.booking}</bdi></Fact>}
            <Fact name={said.id}><bdi>{stay.id}</bdi></Fact>
          </dl>
          {(stay.decidedBy !== null || stay.untilBy !== null || stay.isAhead) && (
            <p className="note" data-testid="decided"><Icon name="clock" size={20} /><span>{[
              ...(stay.decidedBy === null ? [] : [said.decidedBy(stay.decidedBy)]), ...(stay.untilBy === null ? [] : [said.untilBy(stay.untilBy)]), ...(stay.isAhead ? [said.ahead] : []),
            ].join(' ')}</span></p>
          )}
          {(isHere || isComing) && <PhoneCode desk={desk} house={house} stay={stay} />}
          {isHere && <NewEnd desk={desk} stay={stay} />}
          <PhoneKeys desk={desk} stay={stay} />
          <CheckOut desk={desk} stay={stay} />
        </>
      )}
    </div>
  )
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return <div><dt>{name}</dt><dd>{children}</dd></div>
}

function CheckOut({ desk, stay }: { desk: Desk; stay: Stay }) {
  const { words: { out: said, no } } = useSpoken()
  const [isSure, setSure] = useState(false)
  const { isAtWork, came, act } = useAct<boolean>()
  const yes = useRef<HTMLButtonElement>(null)
  const section = useRef<HTMLElement>(null)
  useEffect(() => { if (isSure) yes.current?.focus() }, [isSure])
  useKeptFocus(section)
  async function go(): Promise<void> {
    const told = await act({ kind: 'out', stay }, () => desk.checkOut(stay.id))
    if (told?.kind !== 'done') setSure(false)
  }
  const isHere = stay.state === 'in_house'
  if (!isHere && came === null && !isAtWork) return null
  return (
    <section ref={section} tabIndex={-1} className="card" aria-labelledby="out">
      <h3 id="out">{said.title}</h3>
      <p className="dim">{said.lead}</p>
      <Problem came={came} />
      {came?.kind === 'done' && <p role="status" className="good"><Icon name="check" size={20} /><span>{said.done} {!came.told && said.doorsLater}</span></p>}
      {came?.kind === 'done' || (!isHere && !isAtWork) ? null : isSure ? (
        <div className="sure">
          <p>{said.sure}</p>
          <div className="acts">
            <button ref={yes} type="button" className="act danger" aria-disabled={isAtWork} onClick={() => void go()}>{isAtWork ? said.going : said.yes}</button>
            <button type="button" className="act" onClick={() => setSure(false)}>{no}</button>
          </div>
        </div>
      ) : <button type="button" className="act" onClick={() => setSure(true)}>{said.go}</button>}
    </section>
  )
}
