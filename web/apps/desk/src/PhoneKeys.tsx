/** Which phones have keys of a stay, as the doors know it, and taking one back: a lost phone's. */
import { Icon } from '@innkeeper/ui/icons'
import { type FormEvent, useEffect, useRef, useState, useSyncExternalStore } from 'react'
import { Problem, useAct, useKeptFocus } from './acts'
import type { Desk } from './desk'
import type { PhoneKey, Stay } from './house'
import { useSpoken } from './spoken'

type Known = readonly PhoneKey[] | 'reading' | 'away'

export function PhoneKeys({ desk, stay }: { desk: Desk; stay: Stay }) {
  const { words: { keys: said } } = useSpoken()
  const [known, setKnown] = useState<Known>('reading')
  const { stays } = useSyncExternalStore(desk.subscribe, () => desk.state)
  const turns = useRef({ asked: 0, told: 0 })
  useEffect(() => { // anew with each look at the house: a phone that has just taken its key is shown
    const turn = ++turns.current.asked
    void desk.keys(stay.id).then((keys) => { // doors that take longer than from look to look are heard too, but never an older answer after a newer
      if (turn <= turns.current.told) return
      turns.current.told = turn
      setKnown(keys ?? 'away')
    })
  }, [desk, stay.id, stays])
  return (
    <section className="card" aria-labelledby="keys">
      <h3 id="keys">{said.title}</h3>
      {known === 'reading' ? <p className="dim" role="status">{said.reading}</p> : known === 'away' ? <p className="dim" data-keys="away">{said.away}</p> : known.length === 0 ? <p className="dim" data-keys="none">{said.none}</p> : (
        <ul className="keys" data-keys={known.length}>{known.map((key) => <Phone key={key.phone} desk={desk} stay={stay} phone={key} />)}</ul>
      )}
    </section>
  )
}

function Phone({ desk, stay, phone }: { desk: Desk; stay: Stay; phone: PhoneKey }) {
  const { words: { keys: said, no, signIn }, time, count } = useSpoken()
  const [isAsked, setAsked] = useState(false)
  const [isMissing, setMissing] = useState(false)
  const { isAtWork, came, act } = useAct<null>()
  const reason = useRef<HTMLInputElement>(null)
  const entry = useRef<HTMLLIElement>(null)
  useEffect(() => { if (isAsked) reason.current?.focus() }, [isAsked, isMissing])
  useKeptFocus(entry)
  const id = `why-${phone.name}`

  async function take(event: FormEvent): Promise<void> {
    event.preventDefault()
    const why = reason.current?.value.trim() ?? ''
    setMissing(why === '')
    if (why === '') return
    const told = await act({ kind: 'key', stay }, () => desk.takeBack(stay.id, phone.phone, why))
    if (told?.kind === 'done') setAsked(false)
  }

  return (
    <li ref={entry} tabIndex={-1} data-phone={phone.phone}>
      <div className="phone">
        <p>
          <strong><bdi>{said.phone(phone.name)}</bdi></strong>{phone.isMain && <> ({said.main})</>}
          <span className="dim">{[said.since(time(phone.sinceMs)), said.until(time(phone.untilMs)), phone.usedMs === null ? said.neverUsed : said.used(time(phone.usedMs))].join(' · ')}</span>
        </p>
        {phone.isWithdrawn || phone.hasEnded ? (
          <span className="tag"><Icon name="lock" size={16} />{phone.isWithdrawn ? said.withdrawn : said.over}</span>
        ) : !isAsked && <button type="button" className="quiet" aria-label={said.takeOf(phone.name)} onClick={() => setAsked(true)}>{said.take}</button>}
      </div>
      {(phone.isWithdrawn || phone.hasEnded) && phone.waiting > 0 && <p className="wrong">{said.waiting(count(phone.waiting))}</p>}
      {came?.kind === 'done' && <p role="status" className="good"><Icon name="check" size={20} /><span>{said.done}</span></p>}
      {isAsked && !phone.isWithdrawn && (
        <form className="form sure" noValidate onSubmit={(event) => void take(event)}>
          <p>{said.sure}</p>
          <div className="field">
            <label htmlFor={id}>{said.why}</label>
            <p id={`${id}-hint`} className="dim">{said.whyHint}</p>
            <input ref={reason} id={id} className="input" dir="auto" maxLength={200} autoComplete="off" aria-required aria-invalid={isMissing} aria-describedby={`${id}-hint`} />
            {isMissing && <p className="wrong">{signIn.missing}</p>}
          </div>
          <Problem came={came} />
          <div className="acts">
            <button type="submit" className="act danger" aria-disabled={isAtWork}>{isAtWork ? said.taking : said.yes}</button>
            <button type="button" className="act" onClick={() => setAsked(false)}>{no}</button>
          </div>
        </form>
      )}
    </li>
  )
}
