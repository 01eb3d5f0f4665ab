/** Takes a key from the house itself, and says what came of it. The doors are on the guest's page, which may speak with the cloud alone. */
import { useCallback, useEffect, useRef, useSyncExternalStore } from 'react'
import { Notice } from '../App'
import type { Guest } from '../guest'
import { useSurroundings } from '../surroundings'
import type { HouseLink } from './link'
import { houseWords } from './words'

export function House({ guest, link }: { guest: Guest; link: HouseLink | null }) {
  const { words } = useSurroundings()
  const said = houseWords(words.tag)
  const { taking } = useSyncExternalStore(guest.subscribe, () => guest.state)
  const asked = useRef(false)
  const take = useCallback(() => { if (link !== null) void guest.takeFromHouse(link.invitation) }, [guest, link])
  useEffect(() => {
    if (asked.current) return
    asked.current = true
    take()
  }, [take])
  useEffect(() => { document.title = said.title }, [said])
  const trouble = link === null ? said.nonsense : taking.kind === 'failed' ? words.arrival[taking.trouble] : taking.kind === 'refused' ? troubleOf(taking.trouble) : null

  function troubleOf(what: keyof typeof words.checkIn): string {
    if (what === 'offline' || what === 'unanswered') return said.away
    return what === 'signed_out' || what === 'strange' ? said.gone : words.checkIn[what]
  }

  return (
    <main className="page page-narrow" data-house={link === null ? 'nonsense' : taking.kind}>
      <h1 className="title">{said.title}</h1>
      {taking.kind === 'taken' ? (
        <div role="status">
          <Notice tone="info" icon="check" title={said.taken} name="taken"><p>{said.takenHint}</p></Notice>
          <a className="open open-first" href="./index.html">{said.doors}</a>
        </div>
      ) : trouble !== null ? (
        <div role="alert">
          <Notice tone="warn" icon="warning" title={trouble} name="refused" />
          {link !== null && <button type="button" className="open open-first" onClick={take}>{words.tryAgain}</button>}
        </div>
      ) : (
        <p className="lead" role="status">{said.taking}</p>
      )}
      {taking.kind !== 'taken' && link !== null && <p className="dim">{said.wifi}</p>}
    </main>
  )
}
