/** Asking to leave later on the last day, and what became of it. Where a house offers none, nothing is there. */
import { useCallback, useEffect, useId, useState } from 'react'
import type { CheckInInvitation } from '../arrival'
import type { Guest } from '../guest'
import { useSurroundings } from '../surroundings'
import { hourIn, hoursOf, type LateAct, type LateCheckOut as Late, type LateState, type LateTrouble, standing } from './lateCheckOut'
import { type LateWords, lateWords } from './words'

const LOOK_EACH_MS = 60_000

export function LateCheckOut({ guest, from, nowMs }: { guest: Guest; from: CheckInInvitation; nowMs: number }) {
  const { words } = useSurroundings()
  const said = lateWords(words.tag)
  const [late, setLate] = useState<Late | null>(null)
  const [problem, setProblem] = useState<LateTrouble | null>(null)
  const [isAsking, setIsAsking] = useState(false)
  const id = useId()
  const { property, stay, token } = from
  const act = useCallback(async (wanted: LateAct): Promise<void> => {
    const told = await guest.lateCheckOut({ property, stay, token }, wanted)
    if (told.kind === 'late') setLate(told.late)
    // what was last told stays in sight; looking by itself says nothing of a line that is not there
    if (wanted.kind !== 'look') setProblem(told.kind === 'trouble' ? told.trouble : null)
  }, [guest, property, stay, token])
  const pressed = async (wanted: LateAct): Promise<void> => {
    setIsAsking(true)
    try {
      await act(wanted)
    } finally {
      setIsAsking(false)
    }
  }
  useEffect(() => {
    void act({ kind: 'look' })
    const timer = setInterval(() => { if (!document.hidden) void act({ kind: 'look' }) }, LOOK_EACH_MS)
    return () => clearInterval(timer)
  }, [act])
  if (late === null) return null
  const wish = late.wish?.state === 'withdrawn' ? null : late.wish
  const state = wish === null ? null : standing(late, wish, nowMs)
  const hours = state === 'asked' || state === 'lapsed' ? [] : hoursOf(late)
  if (wish === null && hours.length === 0) return null
  return (
    <section className="late" aria-labelledby={id} data-stay={stay} data-late={state ?? 'open'}>
      <h2 id={id} className="about-title">{said.title}</h2>
      <div role="status" aria-live="polite" className="late-said">
        <p>{wish === null || state === null ? said.ends(hourIn(late.endsMs, late.zone)) : standingSaid(said, late, state, hourIn(wish.untilMs, late.zone))}</p>
        {wish?.reason != null && <p className="late-reason">“{wish.reason}”</p>}
        {problem !== null && <p className="late-problem" data-testid="late-problem">{said.troubles[problem]}</p>}
      </div>
      {hours.length > 0 && <AskFor key={hours.join()} said={said} hours={hours} isAsking={isAsking} onAsk={(until) => void pressed({ kind: 'ask', until })} />}
      {state === 'asked' && <button type="button" className="quiet" disabled={isAsking} onClick={() => void pressed({ kind: 'withdraw' })}>{said.withdraw}</button>}
    </section>
  )
}

function AskFor({ said, hours, isAsking, onAsk }: { said: LateWords; hours: string[]; isAsking: boolean; onAsk: (until: string) => void }) {
  const id = useId()
  const [until, setUntil] = useState(hours[0]!)
  return (
    <form className="late-ask" onSubmit={(event) => { event.preventDefault(); onAsk(until) }}>
      <div className="field">
        <label htmlFor={id}>{said.until}</label>
        <select id={id} className="input" value={until} onChange={(event) => setUntil(event.currentTarget.value)}>
          {hours.map((hour) => <option key={hour} value={hour}>{hour}</option>)}
        </select>
      </div>
      <button type="submit" className="quiet" disabled={isAsking}>{isAsking ? said.asking : said.ask}</button>
    </form>
  )
}

function standingSaid(said: LateWords, { endsMs, zone, houseKnows }: Late, state: LateState, until: string): string {
  const ends = hourIn(endsMs, zone)
  switch (state) {
    case 'asked':
      return said.asked(until, ends)
    case 'granted':
      return houseKnows ? said.granted(until) : `${said.granted(until)} ${said.doorsUnaware}`
    case 'refused':
      return said.refused(until, ends)
    case 'lapsed':
      return said.lapsed(until, ends)
    case 'overtaken':
      return said.overtaken(until)
    case 'withdrawn':
      return said.ends(ends)
  }
}
