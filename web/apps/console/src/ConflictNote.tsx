/** One stay on which PMS and house do not agree: what is so, what the rule did, what somebody should do. */
import type { RoomConflict } from '@innkeeper/api'
import { Icon, saidConflict } from '@innkeeper/ui'
import styles from './ConflictNote.module.css'

export function ConflictNote({ conflict }: { conflict: Omit<RoomConflict, 'stay'> }) {
  const { what, rule, todo } = saidConflict(conflict)
  return (
    <div className={styles['note']} data-conflict={conflict.kind}>
      <Icon name="warning" />
      <div>
        <p><strong>{what}</strong></p>
        <p>{rule}</p>
        <p>{todo}</p>
      </div>
    </div>
  )
}
