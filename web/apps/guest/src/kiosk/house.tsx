/** What the house does at its kiosk: the document that lies on the reader, the key card, the receipt; each says what came of it. */
import { Icon } from '@innkeeper/ui/icons'
import { useEffect, useRef, useState } from 'react'
import type { Fetch } from '../checkIn'
import type { Walk } from '../session/walk'
import type { Session } from '../session/wire'
import { useSurroundings } from '../surroundings'
import { type Came, type Edge, giveCard, printable, printReceipt, takeDocument } from './edge'
import { visitOf } from './line'
import { kioskWords } from './words'

const LOOK_EACH_MS = 1_000

/** Looks whether a document was read, and puts its zone into the form that it stands in; the guest sends it. */
export function FromReader({ edge, reader, fetch }: { edge: Edge; reader: string; fetch: Fetch }) {
  const { words } = useSurroundings()
  const said = kioskWords(words.tag)
  const [isRead, setRead] = useState(false)
  const mark = useRef<HTMLParagraphElement>(null)
  useEffect(() => {
    let isAsking = false
    let isWanted = true
    const look = async (): Promise<void> => {
      if (isAsking) return
      isAsking = true
      const zone = await takeDocument(edge, reader, fetch)
      isAsking = false
      const field = mark.current?.closest('form')?.elements.namedItem('mrz')
      if (!isWanted || zone === null || !(field instanceof HTMLTextAreaElement)) return
      field.value = zone
      field.dispatchEvent(new Event('input', { bubbles: true })) // somebody is here: the screen does not forget him
      setRead(true)
    }
    const timer = setInterval(() => void look(), LOOK_EACH_MS)
    return () => {
      isWanted = false
      clearInterval(timer)
    }
  }, [edge, reader, fetch])
  return (
    <p ref={mark} className="kiosk-reader" role="status" data-reader={isRead ? 'read' : 'waiting'}>
      <Icon name={isRead ? 'check' : 'arrow'} size={26} /><span>{isRead ? said.read : said.layDown}</span>
    </p>
  )
}

type Standing = 'offered' | 'at-work' | 'failed' | 'unknown'

/** The key on a card: asked for by the guest, written and given by the house. What is not sure is never asked for twice. */
export function KeyCard({ edge, walk, root, fetch, onWork, onRoom }: {
  edge: Edge
  walk: Walk
  root: URL
  fetch: Fetch
  onWork: (isAtWork: boolean) => void
  onRoom: (room: string) => void
}) {
  const { words } = useSurroundings()
  const said = kioskWords(words.tag)
  const [standing, setStanding] = useState<Standing>('offered')
  const told = useRef<HTMLParagraphElement>(null)
  useEffect(() => { if (standing !== 'offered') told.current?.focus() }, [standing])

  async function take(): Promise<void> {
    const { invitation } = walk
    if (invitation === null || standing === 'at-work') return
    setStanding('at-work')
    onWork(true)
    const { came, room } = await giveCard(visitOf(invitation, root, '/card'), invitation.token, edge.place, fetch)
    if (walk.invitation !== invitation) return // he has left
    onWork(false)
    if (came === true && room !== null) onRoom(room)
    setStanding(came === true ? 'offered' : came === false ? 'failed' : 'unknown')
    await walk.look()
  }

  return (
    <div className="kiosk-card" data-card={standing}>
      {standing === 'at-work' && <p ref={told} tabIndex={-1} role="status">{said.cardAtWork}</p>}
      {(standing === 'failed' || standing === 'unknown') && <div className="wrong-box"><p ref={told} tabIndex={-1} role="alert">{standing === 'failed' ? said.cardFailed : said.cardUnknown}</p></div>}
      {(standing === 'offered' || standing === 'failed') && (
        <button type="button" className="open open-first" onClick={() => void take()}><Icon name="lock" size={26} />{standing === 'failed' ? said.again : said.takeCard}</button>
      )}
    </div>
  )
}

/** Printed once as soon as all is done; nothing waits for it, and a receipt that did not come is the desk's. */
export function Receipt({ edge, printer, session, room, fetch, onWork }: {
  edge: Edge
  printer: string
  session: Session
  room: string | null
  fetch: Fetch
  onWork: (isAtWork: boolean) => void
}) {
  const { words, locale } = useSurroundings()
  const said = kioskWords(words.tag)
  const [came, setCame] = useState<Came | 'at-work'>('at-work')
  const asked = useRef(false)
  useEffect(() => {
    if (asked.current) return
    asked.current = true
    onWork(true)
    const text = printable(linesOf(session, room, words.tag, locale)) ?? printable(linesOf(session, room, 'en', 'en-GB')) ?? printable(linesOf({ ...session, house: '' }, room, 'en', 'en-GB'))
    const printing = text === null ? Promise.resolve<Came>(false) : printReceipt(edge, printer, text, `receipt.${session.id}`, fetch)
    void printing.then((result) => {
      setCame(result)
      onWork(false)
    })
  }, [edge, printer, session, room, words.tag, locale, fetch, onWork])
  const now = came === 'at-work' ? said.receiptAtWork : came === true ? said.receiptDone : came === false ? said.receiptFailed : said.receiptUnknown
  return <p className="kiosk-receipt" role="status" data-receipt={came === 'at-work' ? came : came === true ? 'done' : came === false ? 'failed' : 'unknown'}><Icon name={came === 'at-work' ? 'clock' : came === true ? 'check' : 'warning'} size={22} /><span>{now}</span></p>
}

/** What the guest takes with him: where, until when, which room. No name: it may be left on the floor. */
export function linesOf(session: Session, room: string | null, tag: string, locale: string): string[] {
  const said = kioskWords(tag)
  const day = new Intl.DateTimeFormat(locale, { dateStyle: 'full', timeZone: session.zone, numberingSystem: 'latn' })
  const lines = [session.house, '', said.receiptTitle, `${day.format(session.arrivesMs)} - ${day.format(session.leavesMs)}`]
  return [...lines, ...(room === null ? [] : [`${said.room} ${room}`]), '', said.receiptDesk]
}
