/** Opening one door from afar: a button, a second act that means it, what is going on, and what came of it, no better than it is. */
import { Icon, type IconName } from '@innkeeper/ui/icons'
import type { OpensAfar, VendorKey } from '@innkeeper/door'
import { useEffect, useId, useRef, useState } from 'react'
import type { Guest, GuestState } from './guest'
import type { OtherKeys } from './others'
import { REMOTE_SAID, type RemoteSaid } from './remoteOpening'
import { useSurroundings } from './surroundings'

const LOOKS: Record<RemoteSaid, { tone: 'good' | 'warn' | 'bad' | 'info'; icon: IconName }> = {
  ...(Object.fromEntries(REMOTE_SAID.map((said) => [said, { tone: 'warn', icon: 'warning' }])) as Record<RemoteSaid, { tone: 'warn'; icon: IconName }>),
  opened: { tone: 'good', icon: 'check' },
  accepted: { tone: 'info', icon: 'question' },
  unknown: { tone: 'warn', icon: 'question' },
  busy: { tone: 'info', icon: 'clock' },
  off_line: { tone: 'warn', icon: 'linkOff' },
  phone_off_line: { tone: 'warn', icon: 'linkOff' },
  hotel_away: { tone: 'warn', icon: 'linkOff' },
  not_yours: { tone: 'bad', icon: 'cross' },
  not_now: { tone: 'bad', icon: 'clock' },
  locked_out: { tone: 'bad', icon: 'cross' },
}

/** After these the door may stand open, or another try is all there is to do: no other way in is named. */
const NEEDS_NO_OTHER_WAY: readonly RemoteSaid[] = ['opened', 'accepted', 'busy', 'again']

export function RemoteOpening({ guest, state, others, vendorKey, door, name }: { guest: Guest; state: GuestState; others: OtherKeys; vendorKey: VendorKey; door: OpensAfar['doors'][number]; name: string }) {
  const { words, time } = useSurroundings()
  const said = words.remote
  const [asks, setAsks] = useState(false)
  const [title, hint] = [useId(), useId()]
  const [first, sure] = [useRef<HTMLButtonElement>(null), useRef<HTMLButtonElement>(null)]
  const isAsking = state.remote === door.door
  const came = state.remotes.get(door.door)
  const toFirst = useRef(false)
  useEffect(() => {
    if (asks) sure.current?.focus()
    else if (toFirst.current) first.current?.focus()
    toFirst.current = false
  }, [asks])
  const back = (): void => {
    toFirst.current = true
    setAsks(false)
  }
  const open = (): void => {
    back()
    void guest.openFromAfar(others, vendorKey, door.door).then(felt)
  }
  return (
    <div className="remote" data-remote={door.door} data-said={came?.said} data-asking={isAsking || undefined}>
      {asks ? (
        <div className="remote-sure" role="group" aria-labelledby={title} aria-describedby={hint} onKeyDown={({ key }) => { if (key === 'Escape') back() }}>
          <p className="outcome-title" id={title}>{said.sure(name)}</p>
          <p className="outcome-text" id={hint}>{said.sureHint}</p>
          <div className="remote-acts">
            <button type="button" className="open open-first" ref={sure} onClick={open}>{said.yes}</button>
            <button type="button" className="quiet" onClick={back}>{said.not}</button>
          </div>
        </div>
      ) : (
        <button type="button" className="open" ref={first} aria-label={said.openNamed(name)} aria-disabled={state.remote !== null} aria-busy={isAsking} onClick={() => { if (state.remote === null) setAsks(true) }}>
          <Icon name="unlock" size={20} />
          {said.open}
        </button>
      )}
      {isAsking && (
        <div className="progress" data-phase="asking">
          <p>{said.asking}<span aria-hidden="true"> …</span></p>
          <div className="progress-track" aria-hidden="true"><span className="progress-fill progress-asking" /></div>
        </div>
      )}
      {!isAsking && !asks && came !== undefined && (
        <div className={`outcome outcome-${LOOKS[came.said].tone}`} data-testid="remote-outcome">
          <span className="outcome-icon"><Icon name={LOOKS[came.said].icon} size={22} /></span>
          <div>
            <p className="outcome-title">{said.said[came.said]}</p>
            {!NEEDS_NO_OTHER_WAY.includes(came.said) && <p className="outcome-text">{vendorKey.state === 'made' ? said.instead[vendorKey.medium] : words.toDesk}</p>}
            <p className="outcome-hint">{time(came.atMs, state.nowMs)}</p>
          </div>
        </div>
      )}
    </div>
  )
}

/** For the hand that holds the phone: one pulse for open, two for not. */
function felt(said: RemoteSaid | null): void {
  if (said !== null && 'vibrate' in navigator) navigator.vibrate(said === 'opened' ? 60 : [40, 60, 40])
}
