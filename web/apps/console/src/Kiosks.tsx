/** The kiosks of a hotel: screens at which guests check in by their booking's code and name. Setting one up, and ending it. */
import type { Property } from '@innkeeper/api'
import { Button, TextInput } from '@mantine/core'
import { type FormEvent, useCallback, useEffect, useState } from 'react'
import styles from './Arrivals.module.css'
import consoleStyles from './console.module.css'
import { Header } from './Header'
import { Notice } from './Notices'
import { asked, inWords, Refused } from './passkeys'
import { arrivalsOf } from './route'
import { SignIn } from './SignIn'

interface Kiosk { id: string; name: string; made_by: string; made_at: string }

export function KiosksPage({ property }: { property: Property }) {
  const at = `api/v1/properties/${encodeURIComponent(property.id)}/kiosks`
  const [kiosks, setKiosks] = useState<Kiosk[] | null>(null)
  const [refused, setRefused] = useState<Refused | null>(null)
  const [link, setLink] = useState<string | null>(null)
  const [problem, setProblem] = useState<string | null>(null)
  const [isAsking, setAsking] = useState(false)

  const read = useCallback(async () => {
    try {
      setKiosks((await asked<{ kiosks: Kiosk[] }>('GET', at)).kiosks)
      setRefused(null)
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      setRefused(error)
    }
  }, [at])
  useEffect(() => void read(), [read])
  useEffect(() => { document.title = `Kiosks · ${property.name} · Innkeeper` }, [property.name])

  async function change(work: () => Promise<string | null>): Promise<void> {
    setAsking(true)
    setProblem(null)
    try {
      setLink(await work())
    } catch (error) {
      setProblem(inWords(error))
    }
    setAsking(false)
    await read()
  }

  function make(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault()
    const name = String(new FormData(event.currentTarget).get('name')).trim()
    if (name === '') return setProblem('Give the kiosk a name, such as Lobby.')
    void change(async () => new URL((await asked<{ path: string }>('POST', at, { name })).path, document.baseURI).href)
  }

  const day = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeZone: property.zone })
  return (
    <>
      <Header title={property.name} detail="Kiosks" back />
      <main className={consoleStyles['main']} data-testid="kiosks">
        {refused?.status === 401 ? <SignIn /> : refused !== null ? (
          <Notice title="Kiosks are not yours to change" icon="lock"><p>{refused.message}</p></Notice>
        ) : kiosks !== null && (
          <div className={styles['columns']}>
            <section aria-labelledby="kiosks">
              <h2 id="kiosks" className={styles['heading']}>In use <span className={styles['count']}>{kiosks.length}</span></h2>
              {kiosks.length === 0 && <p className={styles['empty']}>No kiosk is set up.</p>}
              <ul className={styles['list']}>
                {kiosks.map(({ id, name, made_by: by, made_at: since }) => (
                  <li key={id} className={styles['card']} data-kiosk={name}>
                    <div className={styles['line']}><strong>{name}</strong><span>since {day.format(new Date(since))}, by {by}</span></div>
                    <div className={styles['actions']}>
                      <Button variant="default" loading={isAsking} aria-label={`End ${name}`} onClick={() => void change(() => asked('DELETE', `${at}/${encodeURIComponent(id)}`).then(() => null))}>End</Button>
                    </div>
                  </li>
                ))}
              </ul>
            </section>
            <section aria-labelledby="set-up">
              <h2 id="set-up" className={styles['heading']}>Set one up</h2>
              <div className={styles['card']}>
                <form className={styles['step']} onSubmit={make}>
                  <TextInput name="name" label="Name" maxLength={80} autoComplete="off" />
                  <Button type="submit" variant="default" loading={isAsking}>Make its link</Button>
                </form>
                {problem !== null && <p className={styles['problem']} role="alert">{problem}</p>}
                {link !== null && (
                  <div className={styles['made']} role="status">
                    <p>Open this once on the kiosk. It is shown this once; the kiosk keeps it until it is ended here.</p>
                    <output data-testid="kiosk-link" className={styles['address']}>{link}</output>
                  </div>
                )}
              </div>
              <p className={styles['more']}><a className={styles['plain']} href={arrivalsOf(property.id)}>Back to arrivals</a></p>
            </section>
          </div>
        )}
      </main>
    </>
  )
}
