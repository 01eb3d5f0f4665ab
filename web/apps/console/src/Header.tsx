import { Icon, type IconName } from '@innkeeper/ui'
import { type MantineColorScheme, useMantineColorScheme } from '@mantine/core'
import type { ReactNode } from 'react'
import styles from './Header.module.css'
import mark from './mark.svg'
import { ACCOUNT, arrivalsOf, keysOf, routeTo, useArrivalsShown, useKeysShown, useRoute } from './route'

export function Header({ title, detail, back = false, children }: { title?: ReactNode; detail?: ReactNode; back?: boolean; children?: ReactNode }) {
  return (
    <header className={styles['header']}>
      <a className={styles['brand']} href={routeTo({ property: null, room: null })} aria-label={back ? 'Innkeeper: all properties' : 'Innkeeper'}>
        <img src={mark} alt="" width={26} height={26} />
        <span className={styles['word']}>Innkeeper</span>
      </a>
      {title !== undefined && (
        <div className={styles['place']}>
          <h1 className={styles['title']}>{title}</h1>
          {detail !== undefined && <div className={styles['detail']}>{detail}</div>}
        </div>
      )}
      <div className={styles['right']}>
        {children}
        <ArrivalsLink />
        <KeysLink />
        <a className={styles['scheme']} href={ACCOUNT} aria-label="Your account" title="Your account"><Icon name="person" size={18} /></a>
        <SchemeSwitch />
      </div>
    </header>
  )
}

/** From a hotel to its arrivals, and back to its rooms. */
function ArrivalsLink() {
  const { property } = useRoute()
  const isThere = useArrivalsShown()
  if (property === null) return null
  const said = isThere ? 'Rooms and doors' : 'Arrivals and check-in'
  return (
    <a className={styles['scheme']} href={isThere ? routeTo({ property, room: null }) : arrivalsOf(property)} aria-label={said} title={said}>
      <Icon name={isThere ? 'door' : 'bed'} size={18} />
    </a>
  )
}

/** From a hotel to its keys, and back to its rooms. */
function KeysLink() {
  const { property } = useRoute()
  const isThere = useKeysShown()
  if (property === null) return null
  const said = isThere ? 'Rooms and doors' : 'Keys'
  return (
    <a className={styles['scheme']} href={isThere ? routeTo({ property, room: null }) : keysOf(property)} aria-label={said} title={said} data-testid="to-keys">
      <Icon name={isThere ? 'door' : 'lock'} size={18} />
    </a>
  )
}

const SCHEMES: Record<MantineColorScheme, { next: MantineColorScheme; icon: IconName; said: string }> = {
  auto: { next: 'light', icon: 'screen', said: 'as this device' },
  light: { next: 'dark', icon: 'sun', said: 'light' },
  dark: { next: 'auto', icon: 'moon', said: 'dark' },
}

function SchemeSwitch() {
  const { colorScheme, setColorScheme } = useMantineColorScheme()
  const { next, icon, said } = SCHEMES[colorScheme]
  const label = `Colours: ${said}. Change to ${SCHEMES[next].said}`
  return (
    <button type="button" className={styles['scheme']} aria-label={label} title={label} onClick={() => setColorScheme(next)}>
      <Icon name={icon} size={18} />
    </button>
  )
}
