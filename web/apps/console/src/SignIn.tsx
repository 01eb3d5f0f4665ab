/** Signing in: with an address and a password, or with the token of the settings. */
import { Button, PasswordInput, TextInput } from '@mantine/core'
import { useState, type FormEvent } from 'react'
import { Notice } from './Notices'
import styles from './console.module.css'

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

export function SignIn({ said }: { said?: string }) {
  const [problem, setProblem] = useState<string | null>(null)
  const [asking, setAsking] = useState(false)

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault()
    const told = new FormData(event.currentTarget)
    setAsking(true)
    setProblem(null)
    const wrong = await askForSession(String(told.get('email')), String(told.get('password')))
    if (wrong === null) window.location.reload()
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
      <p>Or open the sign-in link that you were given, or paste its token.</p>
      <form className={styles['signIn']} method="get" action="sign-in">
        <PasswordInput name="token" label="Token" required withAsterisk={false} autoComplete="off" className={styles['token'] ?? ''}
          visibilityToggleButtonProps={{ 'aria-label': 'Show or hide the token' }} />
        <Button type="submit" variant="default">Sign in</Button>
      </form>
    </Notice>
  )
}
