import { VisuallyHidden } from '@mantine/core'
import { ageMs, aheadMs, stoodAt } from '@innkeeper/api'
import styles from './Age.module.css'
import { Icon } from './icons'
import { useSurroundings } from './source'
import { formatAge, formatFull } from './time'
import { useTime } from './ticker'

export interface AgeProps {
  /** When it was true; null is "never known". */
  at: string | null
  /** When it reached us: it is no younger than that, whatever the clock that wrote `at` says. */
  receivedAt?: string | null
  /** Older than this is stale; without it age alone never makes it so. */
  staleAfterMs?: number
  /** Stale for another reason: its device is gone, its quality is doubtful. */
  stale?: boolean
  /** Write "ago" for eyes too, not only for screen readers. */
  ago?: boolean
  /** A fact of the past (a door was opened) stays true when the line is cut; only claims about now go stale. */
  fact?: boolean
}

/** How long ago, growing by itself; says so in shape and colour when it must no longer be taken for the present. */
export function Age({ at: said, receivedAt, staleAfterMs, stale = false, ago = false, fact = false }: AgeProps) {
  const { source, zone } = useSurroundings()
  const at = stoodAt(said, receivedAt)
  const ahead_ms = aheadMs(said, receivedAt)
  const text = useTime((now_ms) => {
    const age = ageMs(at, now_ms)
    return age === null ? 'never' : formatAge(age)
  })
  const tooOld = useTime((now_ms) => staleAfterMs !== undefined && (ageMs(at, now_ms) ?? 0) > staleAfterMs)
  const old = fact ? null : source !== 'live' ? 'held' : stale || tooOld ? 'old' : null
  return (
    <time
      className={styles['age']}
      dateTime={at ?? undefined}
      title={titleOf(said, at, ahead_ms, zone, old !== null)}
      data-ahead={ahead_ms > 0 || undefined}
      data-stale={old ?? undefined}
      data-testid="age"
    >
      {old !== null && <Icon name="clock" size={11} />}
      {text}
      {text !== 'never' && (ago ? ' ago' : <VisuallyHidden> ago</VisuallyHidden>)}
      {ahead_ms > 0 && <VisuallyHidden>, its clock is {formatAge(ahead_ms)} ahead</VisuallyHidden>}
      {old !== null && <VisuallyHidden>, not current</VisuallyHidden>}
    </time>
  )
}

function titleOf(said: string | null, at: string | null, ahead_ms: number, zone: string, old: boolean): string {
  if (said === null || at === null) return 'never known'
  const when = ahead_ms > 0 ? `${formatFull(said, zone)} by its own clock, ${formatAge(ahead_ms)} ahead; reached us ${formatFull(at, zone)}` : formatFull(at, zone)
  return `${when}${old ? ' — not current' : ''}`
}
