/** What the desk asks for, one act at a time, and what is said when it did not come to pass. */
import { Icon } from '@innkeeper/ui/icons'
import { createContext, type RefObject, useCallback, useContext, useEffect, useRef, useState } from 'react'
import type { Outcome } from './desk'
import type { Stay } from './house'
import { useSpoken } from './spoken'
import { refusalOf } from './words'

/** What is asked for, of the stay as it was then. */
export type Deed = { kind: 'code' | 'key' | 'out'; stay: Stay } | { kind: 'end'; stay: Stay; untilMs: number }

/** Takes what came of an act whose part of the page is gone by then: it is told elsewhere (News.tsx). */
export const NewsContext = createContext<(deed: Deed, came: Outcome<unknown>) => void>(() => undefined)

/** One act at a time: what came of it stands until the next. */
export function useAct<T>(): { isAtWork: boolean; came: Outcome<T> | null; act: (deed: Deed, ask: () => Promise<Outcome<T>>) => Promise<Outcome<T> | null>; forget: () => void } {
  const [isAtWork, setAtWork] = useState(false)
  const [came, setCame] = useState<Outcome<T> | null>(null)
  const busy = useRef(false)
  const isShown = useRef(false)
  useEffect(() => {
    isShown.current = true
    return () => { isShown.current = false }
  }, [])
  const tell = useContext(NewsContext)
  const act = useCallback(async (deed: Deed, ask: () => Promise<Outcome<T>>): Promise<Outcome<T> | null> => {
    if (busy.current) return null // a second press asks nothing
    busy.current = true
    setAtWork(true)
    setCame(null)
    const outcome = await ask()
    busy.current = false
    setAtWork(false)
    setCame(outcome)
    if (!isShown.current) tell(deed, outcome)
    return outcome
  }, [tell])
  return { isAtWork, came, act, forget: useCallback(() => setCame(null), []) }
}

/**
 * Whoever works by keyboard or by ear is not thrown back to the top of the page when what had the focus is gone: the focus goes on
 * `to` that, or to the part's first button, or to the part itself. Of parts within each other the innermost takes it.
 */
export function useKeptFocus(part: RefObject<HTMLElement | null>, to?: RefObject<HTMLElement | null>): void {
  const held = useRef<EventTarget | null>(null)
  useEffect(() => {
    const place = part.current
    const came = ({ target }: FocusEvent): void => { held.current = target }
    const left = ({ relatedTarget }: FocusEvent): void => { if (relatedTarget !== null) held.current = null }
    place?.addEventListener('focusin', came)
    place?.addEventListener('focusout', left)
    return () => {
      place?.removeEventListener('focusin', came)
      place?.removeEventListener('focusout', left)
    }
  }) // each time: a part may come after its first drawing
  useEffect(() => {
    if (!(held.current instanceof Node) || held.current.isConnected || document.activeElement !== document.body) return
    held.current = null
    const next = to?.current ?? part.current?.querySelector<HTMLElement>('button') ?? part.current
    next?.focus({ preventScroll: true })
  })
}

/** What was not done, and why, in plain words; the building's own sentence beside them, which names rooms and stays. */
export function Problem({ came }: { came: Outcome<unknown> | null }) {
  const { words } = useSpoken()
  if (came === null || came.kind === 'done') return null
  return (
    <div role="alert" className="problem" data-problem={came.kind === 'unknown' ? 'unknown' : came.reason}>
      <Icon name="warning" size={20} />
      <div>
        <p>{came.kind === 'unknown' ? words.unknown : refusalOf(came.reason, words)}</p>
        {came.kind === 'refused' && came.detail !== '' && <p className="detail">{words.detail} <span lang="en" dir="ltr">{came.detail}</span></p>}
      </div>
    </div>
  )
}
