import { VisuallyHidden } from '@mantine/core'
import { ageMs } from '@innkeeper/api'
import styles from './Age.module.css'
import { Icon } from './icons'
import { useSurroundings } from './source'
import { formatAge, formatFull } from './time'
import { useTime } from './ticker'

export interface AgeProps {
  /** When it was true; null is "never known". */
  at: string | null
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
export function Age({ at, staleAfterMs, stale = false, ago = false, fact = false }: AgeProps) {
  const { source, zone } = useSurroundings()
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
      title={at === null ? 'never known' : `${formatFull(at, zone)}${old === null ? '' : ' — not current'}`}
      data-stale={old ?? undefined}
      data-testid="age"
    >
      {old !== null && <Icon name="clock" size={11} />}
      {text}
      {text !== 'never' && (ago ? ' ago' : <VisuallyHidden> ago</VisuallyHidden>)}
      {old !== null && <VisuallyHidden>, not current</VisuallyHidden>}
    </time>
  )
}
