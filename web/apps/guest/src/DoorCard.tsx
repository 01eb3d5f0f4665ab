/** One door: its name, one button, what is going on, and what came of it. */
import { BatteryIcon, Icon, type IconName } from '@innkeeper/ui/icons'
import type { Ending, Opening } from '@innkeeper/ble'
import type { BundleDoor } from '@innkeeper/door'
import { useEffect, useState } from 'react'
import { saidCause } from './App'
import { type Guest, type GuestState, LOW_BATTERY_PERCENT, placeOf } from './guest'
import type { Holding } from './holdings'
import { useSurroundings } from './surroundings'
import { saidDoor } from './words'

/** So long the page says that the door is open: about as long as a lock leaves its bolt drawn. */
const OPEN_SHOWN_MS = 8_000

/** What the front desk can mend, and another try cannot. */
const FOR_THE_DESK: readonly string[] = ['unknown_issuer', 'bad_signature', 'superseded', 'revoked', 'expired', 'malformed', 'unsupported_version', 'not_allowed', 'out_of_hours', 'used_up', 'needs_user_verification', 'time_uncertain', 'wrong_door', 'locked_out', 'not_the_lock']

const LOOKS: Record<Ending, { tone: 'good' | 'warn' | 'bad'; icon: IconName }> = {
  opened: { tone: 'good', icon: 'check' },
  refused: { tone: 'bad', icon: 'cross' },
  failed: { tone: 'warn', icon: 'linkOff' },
  unknown: { tone: 'warn', icon: 'question' },
}

export function DoorCard({ guest, state, holding, door, isFirst, isUsable }: { guest: Guest; state: GuestState; holding: Holding; door: BundleDoor; isFirst: boolean; isUsable: boolean }) {
  const { words, time } = useSurroundings()
  const at = placeOf(holding, door)
  const doing = state.doing?.at === at ? state.doing.phase : null
  const opening = state.openings.get(at)
  const said = holding.said[door.door]
  const name = saidDoor(door.label, words)
  const isOpen = useIsFresh(opening)
  const mayTap = isUsable && state.radio !== 'unsupported'
  const opens = opening === undefined ? words.open(name) : words.again(name)
  const button = mayTap && (
    <button type="button" className={isFirst ? 'open open-first' : 'open'} aria-label={opens} aria-disabled={state.doing !== null} aria-busy={doing !== null}
      onClick={() => { if (state.doing === null) void guest.open(holding, door).then(felt) }}>
      <Icon name="unlock" size={20} />
      {isFirst ? opens : words.openWord}
    </button>
  )
  return (
    <li className={isFirst ? 'door door-first' : 'door'} data-door={door.door} data-ending={opening?.ending} data-cause={opening?.cause ?? undefined}>
      <div className="door-head">
        <span className={isOpen ? 'door-icon door-icon-open' : 'door-icon'}><Icon name={isOpen ? 'doorOpen' : 'door'} size={isFirst ? 30 : 24} /></span>
        <h2 className="door-name">{name}</h2>
        {!isFirst && button}
      </div>
      {doing !== null && (
        <div className="progress" data-phase={doing}>
          <p>{words.phases[doing]}<span aria-hidden="true"> …</span></p>
          <div className="progress-track" aria-hidden="true"><span className={`progress-fill progress-${doing}`} /></div>
        </div>
      )}
      {doing === null && opening !== undefined && (opening.ending !== 'opened' || isOpen) && <Outcome opening={opening} />}
      {doing === null && opening === undefined && said !== undefined && (
        <div className="outcome outcome-bad" data-testid="last-said">
          <span className="outcome-icon"><Icon name="cross" size={22} /></span>
          <div>
            <p className="outcome-title">{words.reasons[said.reason]}</p>
            <p className="outcome-hint">{words.lastSaid(time(said.atMs, state.nowMs))}. {words.toDesk}</p>
          </div>
        </div>
      )}
      {isFirst && button}
      {isFirst && mayTap && state.radio === 'ready' && <p className="hint">{words.ready}</p>}
      {opening?.result?.batteryPercent != null && opening.result.batteryPercent <= LOW_BATTERY_PERCENT && (
        <p className="battery" data-testid="battery"><BatteryIcon percent={opening.result.batteryPercent} size={20} />{words.batteryLow(opening.result.batteryPercent)}</p>
      )}
    </li>
  )
}

function Outcome({ opening }: { opening: Opening }) {
  const { words } = useSurroundings()
  const { tone, icon } = LOOKS[opening.ending]
  return (
    <div className={`outcome outcome-${tone}`} data-testid="outcome">
      <span className="outcome-icon"><Icon name={icon} size={22} /></span>
      <div>
        <p className="outcome-title">{opening.ending === 'opened' ? words.opened : words.endings[opening.ending]}</p>
        <p className="outcome-text">{opening.cause === null ? words.openedHint : saidCause(opening.cause, words)}</p>
        {opening.cause !== null && FOR_THE_DESK.includes(opening.cause) && <p className="outcome-hint">{words.toDesk}</p>}
      </div>
    </div>
  )
}

/** Whether a door was opened just now; it locks itself again. */
function useIsFresh(opening: Opening | undefined): boolean {
  const [shown, setShown] = useState<Opening | null>(null)
  useEffect(() => {
    if (opening?.ending !== 'opened') return
    setShown(opening)
    const over = setTimeout(() => setShown(null), OPEN_SHOWN_MS)
    return () => clearTimeout(over)
  }, [opening])
  return shown !== null && shown === opening
}

/** For the hand that holds the phone: one pulse for open, two for not. */
function felt(opening: Opening | null): void {
  if (opening !== null && 'vibrate' in navigator) navigator.vibrate(opening.ending === 'opened' ? 60 : [40, 60, 40])
}
