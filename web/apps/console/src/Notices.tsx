/** What stands where there is nothing to show yet, or no more. */
import type { ApiFailure } from '@innkeeper/api'
import { Icon, type IconName } from '@innkeeper/ui'
import { Button, Skeleton } from '@mantine/core'
import type { ReactNode } from 'react'
import { Header } from './Header'
import { SignIn } from './SignIn'
import styles from './console.module.css'

export function ColdPage() {
  return (
    <>
      <Header />
      <main className={styles['main']} aria-busy="true" aria-label="Loading">
        <ColdGrid />
      </main>
    </>
  )
}

export function ColdGrid() {
  return (
    <div className={styles['cold']} data-testid="loading">
      <Skeleton height={86} radius="md" animate />
      <div className={styles['coldGrid']}>
        {Array.from({ length: 12 }, (_, index) => (
          <Skeleton key={index} height={188} radius="md" />
        ))}
      </div>
    </div>
  )
}

export function Notice({ title, icon = 'linkOff', children, action }: { title: string; icon?: IconName; children?: ReactNode; action?: ReactNode }) {
  return (
    <div className={styles['notice']} role="alert">
      <Icon name={icon} size={28} />
      <h1>{title}</h1>
      <div className={styles['noticeText']}>{children}</div>
      {action}
    </div>
  )
}

const TITLES: Record<ApiFailure['kind'], string> = {
  signed_out: 'Sign in to see your hotels',
  forbidden: 'This is not yours to see',
  not_found: 'Nothing here',
  unreachable: 'The cloud does not answer',
  refused: 'The cloud refused the question',
}

export function FailurePage({ failure, again }: { failure: Pick<ApiFailure, 'kind' | 'message'>; again: () => void }) {
  return (
    <>
      <Header />
      <main className={styles['main']}>
        {failure.kind === 'signed_out' || failure.kind === 'forbidden' ? (
          <SignIn {...(failure.kind === 'forbidden' ? { said: failure.message } : {})} />
        ) : (
          <Notice title={TITLES[failure.kind]} action={<Button onClick={again}>Ask again</Button>}>
            <p>{failure.message}</p>
            {failure.kind === 'unreachable' && <p>The hotels keep working by themselves; only this page is blind.</p>}
          </Notice>
        )}
      </main>
    </>
  )
}
