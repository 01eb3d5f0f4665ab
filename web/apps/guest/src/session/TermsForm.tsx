/** The terms of the house: the text itself, in the reader's language if there is one; he accepts the very text that he was shown. */
import { useEffect, useId, useState } from 'react'
import { useSurroundings } from '../surroundings'
import { Form, type FormProps, generalOf, Tick } from './forms'
import type { Problem, Terms } from './wire'
import { sessionWords } from './words'

export function TermsForm({ walk, state }: FormProps) {
  const { words, locale } = useSurroundings()
  const said = sessionWords(words.tag)
  const [found, setFound] = useState<Terms | Problem | null>(null)
  const [asks, setAsks] = useState(0)
  const isOutdated = state.problem?.kind === 'field'
  useEffect(() => {
    let isLate = false
    setFound(null)
    void walk.terms(words.tag).then((terms) => { if (!isLate) setFound(terms) })
    return () => { isLate = true }
  }, [walk, words.tag, asks])
  useEffect(() => { if (isOutdated) setAsks((before) => before + 1) }, [isOutdated])
  if (found === null) return <p className="looking" role="status">{said.termsReading}</p>
  if ('kind' in found) {
    return (
      <>
        <div role="alert" className="wrong-box" data-testid="form-problem"><p>{generalOf(found, said, words.checkIn)}</p></div>
        <div className="form-actions"><button type="button" className="open open-first" onClick={() => setAsks(asks + 1)}>{words.tryAgain}</button></div>
      </>
    )
  }
  return (
    <Form {...{ walk, state, said }} required={['version']} onSend={() => walk.accept(found)}>
      {(field) => (
        <>
          {found.text === null ? <p>{said.termsHint(found.version)}</p> : <Text terms={found} locale={locale} isForeign={found.language !== words.tag} />}
          <Tick {...field('version')} label={said.termsAccept} />
        </>
      )}
    </Form>
  )
}

function Text({ terms, locale, isForeign }: { terms: Terms; locale: string; isForeign: boolean }) {
  const { words } = useSurroundings()
  const said = sessionWords(words.tag)
  const id = useId()
  const language = terms.language ?? 'en'
  const named = new Intl.DisplayNames([locale], { type: 'language' }).of(language) ?? language
  return (
    <>
      <p id={id} className="dim">{said.termsVersion(terms.version)}{isForeign && ` ${said.termsOnlyIn(named)}`}</p>
      {/* a box that scrolls is reached by the keyboard */}
      <div className="terms" role="region" aria-labelledby={id} tabIndex={0} lang={language} dir="auto" data-testid="terms">
        {(terms.text ?? '').split(/\n\s*\n/u).map((paragraph, at) => <p key={at}>{paragraph}</p>)}
      </div>
    </>
  )
}
