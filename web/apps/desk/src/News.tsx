/** What came of acts whose part of the page was left before the answer: said until somebody has read it. */
import { Icon } from '@innkeeper/ui/icons'
import { useRef } from 'react'
import { type Deed, useKeptFocus } from './acts'
import type { Outcome } from './desk'
import { useSpoken } from './spoken'
import { refusalOf, type Words } from './words'

export interface News {
  id: number
  deed: Deed
  came: Outcome<unknown>
}

export function NewsList({ news, onClose }: { news: readonly News[]; onClose: (id: number) => void }) {
  const { words, time } = useSpoken()
  const section = useRef<HTMLElement>(null)
  useKeptFocus(section)
  return (
    <section ref={section} tabIndex={-1} className="news" aria-label={words.news.title} aria-live="polite">
      {news.map(({ id, deed, came }) => {
        const { stay } = deed
        const name = stay.guest ?? words.list.noGuest
        return (
          <div key={id} className={came.kind === 'done' ? 'good' : 'problem'} data-news={deed.kind} data-came={came.kind}>
            <Icon name={came.kind === 'done' ? 'check' : 'warning'} size={20} />
            <div>
              <p><strong><bdi>{stay.room ?? words.list.noRoom}</bdi> · <bdi>{name}</bdi> · {titleOf(deed, words)}</strong></p>
              <p>{came.kind === 'done' ? doneOf(deed, came.told, words, time) : came.kind === 'unknown' ? words.unknown : refusalOf(came.reason, words)}</p>
              {came.kind === 'refused' && came.detail !== '' && <p className="detail">{words.detail} <span lang="en" dir="ltr">{came.detail}</span></p>}
            </div>
            <button type="button" className="quiet" aria-label={words.news.closeOf(name)} onClick={() => onClose(id)}>{words.news.close}</button>
          </div>
        )
      })}
    </section>
  )
}

function titleOf({ kind }: Deed, words: Words): string {
  return { code: words.code.title, end: words.end.title, key: words.keys.yes, out: words.out.title }[kind]
}

function doneOf(deed: Deed, told: unknown, words: Words, time: (atMs: number) => string): string {
  switch (deed.kind) {
    case 'code': return words.code.unseen
    case 'end': return `${words.end.done(time(deed.untilMs))} ${deed.untilMs > deed.stay.untilMs ? words.end.keys : words.end.shorterKeys}`
    case 'key': return words.keys.done
    case 'out': return told === true ? words.out.done : `${words.out.done} ${words.out.doorsLater}`
  }
}
