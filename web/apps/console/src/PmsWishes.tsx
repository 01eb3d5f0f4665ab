/** What the PMS is being told of one stay, and what somebody has to do there. */
import type { Stay } from '@innkeeper/api'
import { Icon, saidWish } from '@innkeeper/ui'
import styles from './PmsWishes.module.css'

export function PmsWishes({ stay, clock }: { stay: Stay; clock: (at: string) => string }) {
  if (stay.pms_wishes.length === 0) return null
  return (
    <ul className={styles['wishes']} aria-label={`What the PMS has not yet of ${stay.guest_name}`}>
      {stay.pms_wishes.map((wish) => {
        const { what, how, isTodo } = saidWish(wish, clock)
        return (
          <li key={wish.what} className={styles['wish']} data-wish={wish.what} data-state={wish.state}>
            <Icon name={isTodo ? 'warning' : 'clock'} />
            <div>
              <p><strong>{what}</strong></p>
              {how.map((each) => <p key={each}>{each}</p>)}
            </div>
          </li>
        )
      })}
    </ul>
  )
}
