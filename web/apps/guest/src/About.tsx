/** Beside the doors: whether it works without internet, another key, the phone's code, and how to be rid of all. */
import { Icon } from '@innkeeper/ui/icons'
import { type FormEvent, useEffect, useId, useRef, useState, useSyncExternalStore } from 'react'
import type { OnArrival } from './App'
import { pastedArrival } from './arrival'
import type { Guest, GuestState } from './guest'
import { useSurroundings } from './surroundings'

export function About({ guest, state, onArrival }: { guest: Guest; state: GuestState; onArrival: OnArrival }) {
  const { words } = useSurroundings()
  const isOnline = useIsOnline()
  const isKept = useIsKept()
  return (
    <aside className="about" aria-labelledby="about-title">
      <h2 id="about-title" className="about-title">{words.about}</h2>
      <p className="fact" data-testid="offline" data-kept={isKept}>
        <Icon name={isKept ? 'check' : 'clock'} size={18} />
        <span>{isKept ? words.offlineReady : words.offlinePreparing}{!isOnline && ` ${words.offlineNow}`}</span>
      </p>
      {state.holdings.length > 0 && <p className="fact"><Icon name="lock" size={18} /><span>{words.onlyHere}</span></p>}
      <details className="more">
        <summary>{words.newKey}</summary>
        <p className="dim">{words.newKeyHint}</p>
        <Paste onArrival={onArrival} />
        <Code code={state.phoneCode} />
      </details>
      <Forget guest={guest} />
    </aside>
  )
}

/** The two ways in which a first key comes. */
export function Arrive({ state, onArrival }: { state: GuestState; onArrival: OnArrival }) {
  const { words } = useSurroundings()
  return (
    <ol className="steps">
      <li>
        <p className="step">{words.stepLink}</p>
        <Paste onArrival={onArrival} />
      </li>
      <li>
        <p className="step">{words.stepDesk}</p>
        <Code code={state.phoneCode} />
      </li>
    </ol>
  )
}

function Paste({ onArrival }: { onArrival: OnArrival }) {
  const { words } = useSurroundings()
  const id = useId()
  const [text, setText] = useState('')
  const taken = (event: FormEvent): void => {
    event.preventDefault()
    if (text.trim() === '') return
    onArrival(pastedArrival(text))
    setText('')
  }
  return (
    <form className="paste" onSubmit={taken}>
      <label htmlFor={id}>{words.paste}</label>
      <textarea id={id} rows={2} value={text} placeholder={words.pasteHint} autoComplete="off" autoCapitalize="off" spellCheck={false} onChange={(event) => setText(event.currentTarget.value)} />
      <button type="submit" className="quiet">{words.take}</button>
    </form>
  )
}

function Code({ code }: { code: string }) {
  const { words } = useSurroundings()
  const [isCopied, setIsCopied] = useState(false)
  const id = useId()
  const copy = (): void => { void navigator.clipboard.writeText(code).then(() => setIsCopied(true), () => setIsCopied(false)) }
  return (
    <div className="code-box">
      <p id={id} className="code-label">{words.code}</p>
      <output className="code" aria-labelledby={id} data-testid="phone-code">{code.match(/.{1,6}/gu)?.join(' ')}</output>
      <div className="code-actions">
        <button type="button" className="quiet" onClick={copy}>{isCopied ? words.copied : words.copy}</button>
        {'share' in navigator && <button type="button" className="quiet" onClick={() => void navigator.share({ text: code }).catch(() => {})}>{words.share}</button>}
      </div>
    </div>
  )
}

function Forget({ guest }: { guest: Guest }) {
  const { words } = useSurroundings()
  const dialog = useRef<HTMLDialogElement>(null)
  const id = useId()
  return (
    <>
      <button type="button" className="forget" onClick={() => dialog.current?.showModal()}>{words.forget}</button>
      <dialog ref={dialog} className="sure" aria-labelledby={id}>
        <p id={id}>{words.forgetSure}</p>
        <div className="sure-actions">
          <button type="button" className="quiet" onClick={() => dialog.current?.close()}>{words.keep}</button>
          <button type="button" className="danger" onClick={() => { dialog.current?.close(); void guest.forget() }}>{words.yesForget}</button>
        </div>
      </dialog>
    </>
  )
}

function useIsOnline(): boolean {
  return useSyncExternalStore(
    (changed) => {
      window.addEventListener('online', changed)
      window.addEventListener('offline', changed)
      return () => {
        window.removeEventListener('online', changed)
        window.removeEventListener('offline', changed)
      }
    },
    () => navigator.onLine,
  )
}

/** Whether the page's files are kept: the worker is in charge only once it has kept them all. */
function useIsKept(): boolean {
  const [isKept, setIsKept] = useState(false)
  useEffect(() => {
    if (!('serviceWorker' in navigator)) return
    let isWanted = true
    void navigator.serviceWorker.ready.then(() => { if (isWanted) setIsKept(true) })
    return () => { isWanted = false }
  }, [])
  return isKept
}
