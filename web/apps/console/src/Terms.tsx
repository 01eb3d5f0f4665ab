/** The terms of a house: which version check-ins ask for, every text that was written down, and writing down another. */
import type { Property, TermsText, TermsVersions } from '@innkeeper/api'
import { Icon } from '@innkeeper/ui'
import { Button, NativeSelect, Textarea, TextInput } from '@mantine/core'
import { type FormEvent, useCallback, useEffect, useState } from 'react'
import styles from './Arrivals.module.css'
import consoleStyles from './console.module.css'
import { Header } from './Header'
import { Notice } from './Notices'
import { SignIn } from './SignIn'
import { asked, inWords, Refused } from './passkeys'
import { arrivalsOf } from './route'
import own from './Terms.module.css'

/** What the guest's page speaks first, then other languages of many guests. */
const LANGUAGES = ['en', 'de', 'fr', 'es', 'ar', 'it', 'nl', 'pl', 'cs', 'pt', 'ru', 'tr', 'zh', 'ja'] as const
const CHARACTERS_MOST = 60_000

const named = new Intl.DisplayNames(['en'], { type: 'language' })
const nameOf = (language: string): string => named.of(language) ?? language

export function TermsPage({ property }: { property: Property }) {
  const [known, setKnown] = useState<TermsVersions | null>(null)
  const [refused, setRefused] = useState<Refused | null>(null)
  const here = `api/v1/properties/${encodeURIComponent(property.id)}/terms`
  const read = useCallback(async () => {
    try {
      setKnown(await asked<TermsVersions>('GET', here))
      setRefused(null)
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      setRefused(error)
    }
  }, [here])
  useEffect(() => void read(), [read])
  const day = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeZone: property.zone })
  if (refused?.status === 401) return <><Header title={property.name} back /><main className={consoleStyles['main']}><SignIn /></main></>
  const isWritten = known?.versions.some(({ version }) => version === known.in_force) === true
  return (
    <>
      <Header title={property.name} detail="House terms" back />
      <main className={consoleStyles['main']}>
        {refused !== null && <Notice title="No terms here" icon="lock"><p>{refused.message}</p></Notice>}
        {known !== null && (
          <div className={styles['columns']}>
            <section aria-labelledby="versions" data-testid="versions">
              <h2 id="versions" className={styles['heading']}>Written down <span className={styles['count']}>{known.versions.length}</span></h2>
              <p data-testid="in-force" className={own['force']}>
                {known.in_force === null
                  ? 'Check-ins that begin now ask for no terms: the check-in policy has no such step.'
                  : `Check-ins that begin now ask for version ${known.in_force}: the check-in policy says so.`}
              </p>
              {known.in_force !== null && !isWritten && (
                <p className={styles['disagreed']} role="status"><Icon name="warning" /> No text of it is written down: guests are told that the desk has it on paper.</p>
              )}
              <ul className={styles['list']}>
                {known.versions.map(({ version, languages }) => (
                  <li key={version} className={styles['card']} data-version={version}>
                    <div className={styles['line']}><strong>Version {version}</strong><span>{version === known.in_force ? 'asked for now' : ''}</span></div>
                    {languages.map((each) => (
                      <Text key={each.language} address={`${here}/${encodeURIComponent(version)}/${each.language}`} language={each.language}
                        since={`${day.format(new Date(each.made_at))}, by ${each.made_by}`} sha256={each.sha256} />
                    ))}
                  </li>
                ))}
              </ul>
              <p><a className={styles['plain']} href={arrivalsOf(property.id)}>Back to arrivals</a></p>
            </section>
            <Publish here={here} known={known} onDone={() => void read()} />
          </div>
        )}
      </main>
    </>
  )
}

/** One language of a version; its text is fetched when somebody wants to read it. */
function Text({ address, language, since, sha256 }: { address: string; language: string; since: string; sha256: string }) {
  const [text, setText] = useState<string | null>(null)
  const fetchText = (): void => {
    if (text === null) void asked<TermsText>('GET', address).then((one) => setText(one.text ?? ''), (error: unknown) => setText(inWords(error)))
  }
  return (
    <details className={own['text']} data-language={language} onToggle={({ currentTarget }) => { if (currentTarget.open) fetchText() }}>
      <summary>{nameOf(language)} <span className={styles['dim']}>{since}</span></summary>
      <p className={own['digest']}>SHA-256 {sha256}</p>
      {text === null ? <p role="status">Fetching …</p> : <div className={own['words']} lang={language} dir="auto" tabIndex={0} role="region" aria-label={`Text in ${nameOf(language)}`}>{text}</div>}
    </details>
  )
}

function Publish({ here, known, onDone }: { here: string; known: TermsVersions; onDone: () => void }) {
  const [problem, setProblem] = useState<string | null>(null)
  const [done, setDone] = useState<string | null>(null)
  const [isAsking, setAsking] = useState(false)

  async function publish(event: FormEvent<HTMLFormElement>): Promise<void> {
    event.preventDefault()
    const form = event.currentTarget
    const data = new FormData(form)
    const [version, language, text] = ['version', 'language', 'text'].map((name) => String(data.get(name)).trim())
    setDone(null)
    if (!version || !text) return setProblem('A version and a text are needed.')
    setAsking(true)
    const failed = await asked('PUT', `${here}/${encodeURIComponent(version)}/${language}`, { text }).then(() => null, inWords)
    setAsking(false)
    setProblem(failed)
    if (failed !== null) return
    setDone(`Version ${version} is written down in ${nameOf(language ?? '')}.`)
    form.querySelector('textarea')!.value = ''
    onDone()
  }

  return (
    <section aria-labelledby="publish">
      <h2 id="publish" className={styles['heading']}>Write down a text</h2>
      <p className={styles['dim']}>
        It stands for good: what a guest accepted can be shown for as long as the house is. To change it, write another version, and name that one in the check-in policy.
      </p>
      <form className={own['form']} onSubmit={(event) => void publish(event)}>
        <TextInput name="version" label="Version" maxLength={80} defaultValue={known.in_force ?? ''} />
        <NativeSelect name="language" label="Language" data={LANGUAGES.map((value) => ({ value, label: nameOf(value) }))} />
        <Textarea name="text" label="Text" description="Plain text; empty lines divide paragraphs." rows={12} maxLength={CHARACTERS_MOST} dir="auto" />
        <Button type="submit" loading={isAsking}>Write it down for good</Button>
        {problem !== null && <p className={styles['problem']} role="alert">{problem}</p>}
        {done !== null && <p role="status">{done}</p>}
      </form>
    </section>
  )
}
