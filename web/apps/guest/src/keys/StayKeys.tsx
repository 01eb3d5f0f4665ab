/** Who has keys of the stay, asked for when the guest wants to know; the main guest takes one back, by two acts. */
import { Icon } from '@innkeeper/ui/icons'
import { useId, useRef, useState } from 'react'
import type { CheckInInvitation } from '../arrival'
import type { Guest } from '../guest'
import { useSurroundings } from '../surroundings'
import { saidDoor } from '../words'
import type { KeyTrouble, StayKey, Told } from './stayKeys'
import { type KeyWords, keyWords } from './words'

export function StayKeys({ guest, from, nowMs }: { guest: Guest; from: CheckInInvitation; nowMs: number }) {
  const { words } = useSurroundings()
  const said = keyWords(words.tag)
  const [told, setTold] = useState<Told | null>(null)
  const [problem, setProblem] = useState<KeyTrouble | null>(null)
  const [isAsking, setIsAsking] = useState(false)
  const keys = told?.kind === 'keys' ? told.keys : null
  const ask = async (takeBack: string | null): Promise<void> => {
    setIsAsking(true)
    try {
      const answer = await guest.stayKeys(from, takeBack)
      // what was seen stays in sight beside what went wrong with a key of it
      if (answer.kind === 'keys' || takeBack === null) setTold(answer)
      setProblem(answer.kind === 'trouble' ? answer.trouble : null)
    } finally {
      setIsAsking(false)
    }
  }
  return (
    <section className="stay-keys" aria-label={said.title} data-stay={from.stay}>
      <h2 className="about-title">{said.title}</h2>
      <div role="status" aria-live="polite">
        {keys !== null && <p className="dim">{keys.takesBack ? said.count(keys.keys.filter(({ state }) => state === 'valid').length) : said.onlyOwn}</p>}
        {problem !== null && <p className="stay-keys-problem" data-testid="keys-problem">{said.troubles[problem]}</p>}
      </div>
      {keys !== null && (
        <ul className="stay-keys-list">
          {keys.keys.map((key, at) => (
            <KeyRow key={key.key} said={said} shown={key} name={nameOf(key, at, said)} nowMs={nowMs} isBusy={isAsking} onTakeBack={keys.takesBack && !key.mine && key.state !== 'taken_back' ? () => void ask(key.key) : null} />
          ))}
          {keys.others.map((each, at) => <li key={`${each.system} ${at}`} className="stay-key"><p>{said.elsewhere(each.system)}</p></li>)}
        </ul>
      )}
      <button type="button" className="quiet" disabled={isAsking} onClick={() => void ask(null)}>{isAsking ? said.looking : said.look}</button>
    </section>
  )
}

function KeyRow({ said, shown, name, nowMs, isBusy, onTakeBack }: { said: KeyWords; shown: StayKey; name: string; nowMs: number; isBusy: boolean; onTakeBack: (() => void) | null }) {
  const { words, time } = useSurroundings()
  const dialog = useRef<HTMLDialogElement>(null)
  const id = useId()
  const { used } = shown
  const opened = used === null ? said.notUsed : (used.certain ? said.used : said.usedUncertain)(time(used.atMs, nowMs), saidDoor(used.door, words))
  return (
    <li className="stay-key" data-key={shown.key} data-state={shown.state} data-mine={shown.mine}>
      <p className="stay-key-name"><Icon name={shown.state === 'valid' ? 'lock' : 'clock'} size={18} />{name}</p>
      {shown.sinceMs !== null && <p className="dim">{said.since(time(shown.sinceMs, nowMs))}</p>}
      <p className="dim">{opened}</p>
      {shown.elsewhere.filter(({ state }) => state !== 'ended').map(({ system, state }) => (
        <p key={system} className="dim">{state === 'ending' ? said.elsewhereEnding(system) : said.elsewhere(system)}</p>
      ))}
      {shown.state === 'ended' && <p>{said.ended}</p>}
      {shown.state === 'taken_back' && <TakenBack said={said} shown={shown} nowMs={nowMs} />}
      {onTakeBack !== null && (
        <>
          <button type="button" className="quiet" disabled={isBusy} onClick={() => dialog.current?.showModal()}>{said.takeBack}</button>
          <dialog ref={dialog} className="sure" aria-labelledby={id}>
            <p id={id}>{said.sure(name)}</p>
            <div className="sure-actions">
              <button type="button" className="quiet" onClick={() => dialog.current?.close()}>{said.keep}</button>
              <button type="button" className="danger" onClick={() => { dialog.current?.close(); onTakeBack() }}>{said.yes}</button>
            </div>
          </dialog>
        </>
      )}
    </li>
  )
}

/** What is known of its end: never more than the doors have confirmed. */
function TakenBack({ said, shown, nowMs }: { said: KeyWords; shown: StayKey; nowMs: number }) {
  const { words, time } = useSurroundings()
  const { waiting } = shown
  return (
    <div data-testid="taken-back" data-waiting={waiting.length}>
      <p>{said.takenBack}. {waiting.length === 0 ? said.everyDoorKnows : said.waiting(waiting.length)}</p>
      <ul className="stay-key-doors">
        {waiting.map(({ door, contactMs }) => {
          const label = saidDoor(door, words)
          return <li key={door}>{contactMs === null ? said.neverHeard(label) : said.lastHeard(label, time(contactMs, nowMs))}</li>
        })}
      </ul>
    </div>
  )
}

function nameOf(key: StayKey, at: number, said: KeyWords): string {
  if (key.mine) return said.thisPhone
  return key.main ? said.mainPhone : said.anotherPhone(at + 1)
}
