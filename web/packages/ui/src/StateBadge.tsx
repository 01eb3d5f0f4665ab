import type { LinkState } from '@innkeeper/api'
import type { ReactNode } from 'react'
import { Icon, type IconName } from './icons'
import styles from './StateBadge.module.css'
import { saidEvent, saidLink } from './words'

export type Tone = 'good' | 'warn' | 'bad' | 'info' | 'idle'

/** A state as picture and word together; the colour only repeats what they say. */
export function StateBadge({ tone, icon, children, quiet = false }: { tone: Tone; icon: IconName; children: ReactNode; quiet?: boolean }) {
  return (
    <span className={[styles['badge'], styles[tone], quiet && styles['quiet']].filter(Boolean).join(' ')} data-tone={tone}>
      <Icon name={icon} size={14} />
      {children}
    </span>
  )
}

const EVENT_LOOK: Record<string, [Tone, IconName]> = {
  opened: ['good', 'check'],
  refused: ['bad', 'cross'],
  lost: ['bad', 'warning'],
  log_broken: ['bad', 'warning'],
  restarted: ['warn', 'warning'],
  throttled: ['warn', 'warning'],
  promoted: ['info', 'swap'],
  bumped: ['info', 'swap'],
  'remote-opened': ['good', 'check'],
  'remote-accepted': ['info', 'question'],
  'remote-unknown': ['warn', 'question'],
  'remote-failed': ['warn', 'warning'],
  'remote-refused': ['bad', 'cross'],
}

/** What happened at a door. */
export function EventBadge({ event }: { event: string }) {
  const [tone, icon] = EVENT_LOOK[event] ?? ['idle', 'door']
  return (
    <StateBadge quiet tone={tone} icon={icon}>
      {saidEvent(event)}
    </StateBadge>
  )
}

const LINK_LOOK: Record<LinkState, [Tone, IconName]> = {
  online: ['good', 'link'],
  silent: ['warn', 'linkOff'],
  offline: ['bad', 'linkOff'],
  never: ['idle', 'question'],
}

/** `doubtful`: the page itself hears nothing, so the state is what it last was. */
export function LinkBadge({ state, doubtful = false }: { state: LinkState; doubtful?: boolean }) {
  const [tone, icon] = LINK_LOOK[state] ?? ['idle', 'question']
  if (doubtful) {
    return (
      <StateBadge tone="idle" icon="clock">
        Was {saidLink(state).toLowerCase()}
      </StateBadge>
    )
  }
  return (
    <StateBadge tone={tone} icon={icon}>
      {saidLink(state)}
    </StateBadge>
  )
}
