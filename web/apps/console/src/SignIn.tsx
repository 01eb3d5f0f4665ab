/** Signing in: with an address and a password, a passkey, one's company, or with the token of the settings. */
import { Button, PasswordInput, TextInput } from '@mantine/core'
import { useEffect, useState, type FormEvent } from 'react'
import { Notice } from './Notices'
import styles from './console.module.css'
import { asked, inWords, signInWithPasskey, waysIn, type Asking, type Ways } from './passkeys'

const ANSWER_WAIT_MS = 15_000

/** Ask the cloud for its session cookie; null when it was given, else what to tell the reader. */
export async function askForSession(email: string, password: string, { ask = fetch, base = document.baseURI }: { ask?: typeof fetch; base?: string } = {}): Promise<string | null> {
  let response: Response
  try {
    response = await ask(new URL('api/v1/sign-in', base), {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ email, password, browser: true }),
      signal: AbortSignal.timeout(ANSWER_WAIT_MS),
    })
  } catch {
    return 'The cloud does not answer. Try again in a moment.'
  }
  if (response.ok) return null
  if (response.status === 401) return 'E-mail address or password are wrong.'
  if (response.status === 429) {
    return `Too many attempts. Try again in ${response.headers.get('Retry-After') ?? 'a few'} seconds.`
  }
  return `The cloud refused to sign in (${response.status}).`
}

/** Where to go to sign in with a company's own provider; the reader comes back to `returnTo`. */
export async function companyAddress(company: string, returnTo: string, asking: Asking = {}): Promise<string> {
  return (await asked<{ location: string }>('POST', 'api/v1/sign-in/company', { company: company.trim().toLowerCase(), return_to: returnTo }, asking)).location
}

const FAILED: Record<string, string> = {
  denied: 'Your company’s sign-in did not let you in.',
  unknown: 'Your company knows you, this cloud does not: ask an admin for an account, or link it from your account here.',
  ended: 'Signing in took too long, or was begun in another browser. Begin again.',
  provider: 'Your company’s sign-in does not answer as it should. Try again, or use another way.',
}

/** What to tell whoever comes back from a company's sign-in without having got in; null: nobody does. */
export function whatFailed(hash: string): string | null {
  const kind = /^#\/sign-in\/([a-z]+)$/.exec(hash)?.[1]
  return kind === undefined ? null : (FAILED[kind] ?? 'Signing in did not work.')
}

export function SignIn({ said }: { said?: string }) {
  const [problem, setProblem] = useState<string | null>(() => whatFailed(window.location.hash))
  const [asking, setAsking] = useState(false)
  const [ways, setWays] = useState<Ways | null>(null)
  useEffect(() => void waysIn().then(setWays), [])

  function enter() {
    if (window.location.hash.startsWith('#/sign-in/')) window.location.hash = '#/'
    window.location.reload()
  }

  async function withPasskey() {
    setAsking(true)
    const wrong = await signInWithPasskey()
    if (wrong === null) enter()
    else {
      setProblem(wrong)
      setAsking(false)
    }
  }

  async function withCompany(event: FormEvent<HTMLFormElement>) {
    event.preventDefault()
    const company = String(new FormData(event.currentTarget).get('company'))
    setAsking(true)
    try {
      window.location.assign(await companyAddress(company, window.location.hash.startsWith('#/p/') ? window.location.hash : '#/'))
    } catch (error) {
      setProblem(inWords(error))
      setAsking(false)
    }
  }

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault()
    const told = new FormData(event.currentTarget)
    setAsking(true)
    setProblem(null)
    const wrong = await askForSession(String(told.get('email')), String(told.get('password')))
    if (wrong === null) enter()
    else {
      setProblem(wrong)
      setAsking(false)
    }
  }

  return (
    <Notice title="Sign in to see your hotels" icon="lock">
      {said !== undefined && <p>The cloud says: {said}</p>}
      <form className={styles['credentials']} onSubmit={(event) => void submit(event)}>
        <TextInput name="email" type="email" label="E-mail address" required withAsterisk={false} autoComplete="username" />
        <PasswordInput name="password" label="Password" required withAsterisk={false} autoComplete="current-password"
          visibilityToggleButtonProps={{ 'aria-label': 'Show or hide the password' }} />
        {problem !== null && <p role="alert" className={styles['refused']}>{problem}</p>}
        <Button type="submit" loading={asking}>Continue</Button>
      </form>
      {ways?.passkeys === true && <Button fullWidth variant="light" loading={asking} onClick={() => void withPasskey()}>Sign in with a passkey</Button>}
      {ways?.companies === true && (
        <form className={styles['signIn']} onSubmit={(event) => void withCompany(event)}>
          <TextInput name="company" label="Your company’s name here" required withAsterisk={false} autoComplete="organization" className={styles['token'] ?? ''} />
          <Button type="submit" variant="light" loading={asking}>Sign in with my company</Button>
        </form>
      )}
      <p>Or open the sign-in link that you were given, or paste its token.</p>
      <form className={styles['signIn']} method="get" action="sign-in">
        <PasswordInput name="token" label="Token" required withAsterisk={false} autoComplete="off" className={styles['token'] ?? ''}
          visibilityToggleButtonProps={{ 'aria-label': 'Show or hide the token' }} />
        <Button type="submit" variant="default">Sign in</Button>
      </form>
    </Notice>
  )
}
