/** The reader's own account: the passkeys that open it. */
import { Button, TextInput } from '@mantine/core'
import { useCallback, useEffect, useState, type FormEvent } from 'react'
import { Header } from './Header'
import { Notice } from './Notices'
import { SignIn } from './SignIn'
import styles from './console.module.css'
import { addPasskey, asked, canUsePasskeys, inWords, Refused, type Passkey } from './passkeys'

const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium' })

export function AccountPage() {
  const [passkeys, setPasskeys] = useState<Passkey[] | null>(null)
  const [refused, setRefused] = useState<Refused | null>(null)
  const [problem, setProblem] = useState<string | null>(null)
  const [asking, setAsking] = useState(false)

  const read = useCallback(async () => {
    try {
      setPasskeys((await asked<{ passkeys: Passkey[] }>('GET', 'api/v1/me/passkeys')).passkeys)
      setRefused(null)
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      setRefused(error)
    }
  }, [])
  useEffect(() => void read(), [read])

  async function change(work: () => Promise<string | null>) {
    setAsking(true)
    setProblem(await work())
    await read()
    setAsking(false)
  }

  function add(event: FormEvent<HTMLFormElement>) {
    event.preventDefault()
    const form = event.currentTarget
    void change(async () => {
      const wrong = await addPasskey(String(new FormData(form).get('name')))
      if (wrong === null) form.reset()
      return wrong
    })
  }

  const remove = (id: string) => change(() => asked('DELETE', `api/v1/me/passkeys/${encodeURIComponent(id)}`).then(() => null, inWords))

  return (
    <>
      <Header title="Your account" back />
      <main className={styles['main']}>
        {refused?.status === 401 ? <SignIn /> : refused !== null ? (
          <Notice title="No passkeys here" icon="lock"><p>{refused.message}</p></Notice>
        ) : (
          <section className={styles['account']} aria-labelledby="passkeys" data-testid="passkeys" aria-busy={passkeys === null}>
            <h2 id="passkeys">Passkeys</h2>
            <p>A passkey signs you in with this device’s lock instead of your password, and works on this site alone.</p>
            <ul>
              {passkeys?.map((each) => (
                <li key={each.id} data-testid="passkey" data-suspended={each.suspended_at !== null || undefined}>
                  <span>
                    <strong>{each.name}</strong>
                    <br />
                    added {DAY.format(new Date(each.created_at))}, {each.used_at === null ? 'not used yet' : `last used ${DAY.format(new Date(each.used_at))}`}
                    {each.synced && ', kept in sync among your devices'}
                    {each.suspended_at !== null && '. Suspended: its key exists twice. Remove it and add a new one.'}
                  </span>
                  <Button variant="default" size="xs" disabled={asking} aria-label={`Remove ${each.name}`} onClick={() => void remove(each.id)}>
                    Remove
                  </Button>
                </li>
              ))}
            </ul>
            {passkeys?.length === 0 && <p>You have none yet.</p>}
            {problem !== null && <p role="alert" className={styles['refused']}>{problem}</p>}
            {canUsePasskeys() ? (
              <form className={styles['signIn']} onSubmit={add}>
                <TextInput name="name" label="What to call it" required withAsterisk={false} maxLength={100} autoComplete="off" className={styles['token'] ?? ''} />
                <Button type="submit" loading={asking}>Add a passkey</Button>
              </form>
            ) : <p>This browser cannot make passkeys.</p>}
          </section>
        )}
      </main>
    </>
  )
}
