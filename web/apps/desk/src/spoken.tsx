/** What every part of the page reads: the words, and how times of the house are said in them. */
import { createContext, useContext, useEffect, useMemo, useState } from 'react'
import { browserMemory } from './storage'
import { directionOf, LANGUAGES, localeOf, saidAge, saidTime, spoken, type Words } from './words'

const memory = browserMemory(() => localStorage, 'innkeeper-language')

export interface Spoken {
  words: Words
  speak: (tag: string) => void
  /** A time of the house's wall; where its zone is not known, of UTC's, which is named. */
  time: (atMs: number) => string
  ago: (ageMs: number) => string
  count: (count: number) => string
  /** The house's; null: not known here, and never this machine's instead. */
  zone: string | null
}

const Context = createContext<Spoken | null>(null)
export const SpokenContext = Context.Provider

export function useSpoken(): Spoken {
  const found = useContext(Context)
  if (found === null) throw new Error('outside of SpokenContext')
  return found
}

export function useLanguage(zone: string | null, houseMs: () => number | null): Spoken {
  const [tag, setTag] = useState(() => memory.get())
  const words = useMemo(() => LANGUAGES.find((each) => each.tag === tag) ?? spoken(navigator.languages), [tag])
  useEffect(() => {
    document.documentElement.lang = words.tag
    document.documentElement.dir = directionOf(words)
    document.title = words.title
  }, [words])
  return useMemo(() => {
    const locale = localeOf(words, navigator.languages)
    return {
      words,
      zone,
      speak: (next) => { memory.set(next); setTag(next) },
      time: (atMs) => saidTime(atMs, houseMs() ?? atMs, zone, locale),
      ago: (ageMs) => saidAge(ageMs, locale),
      count: (count) => new Intl.NumberFormat(locale, { numberingSystem: 'latn' }).format(count),
    }
  }, [words, zone, houseMs])
}

/** The attribute that packages/ui/src/tokens.css goes by: the reader's system decides. */
export function useScheme(): void {
  useEffect(() => {
    const query = window.matchMedia('(prefers-color-scheme: dark)')
    const changed = (): void => { document.documentElement.dataset['mantineColorScheme'] = query.matches ? 'dark' : 'light' }
    changed()
    query.addEventListener('change', changed)
    return () => query.removeEventListener('change', changed)
  }, [])
}

/** Draws anew as time passes. */
export function useTick(eachMs: number): void {
  const [, setCount] = useState(0)
  useEffect(() => {
    const timer = setInterval(() => setCount((count) => count + 1), eachMs)
    return () => clearInterval(timer)
  }, [eachMs])
}
