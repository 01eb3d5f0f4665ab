/** What every part of the page reads: the words, how times are said, and how the reader changes language and colours. */
import { createContext, type ReactNode, useContext, useEffect, useMemo, useState } from 'react'
import { directionOf, LANGUAGES, localeOf, saidTime, spoken, type Words } from './words'

export type Scheme = 'auto' | 'light' | 'dark'

const SCHEMES: readonly Scheme[] = ['auto', 'light', 'dark']
const LANGUAGE_ITEM = 'innkeeper-language'
const SCHEME_ITEM = 'innkeeper-colours'

export interface Surroundings {
  words: Words
  /** The language with the reader's own region: for names of countries, dates and money. */
  locale: string
  time: (atMs: number, nowMs: number) => string
  speak: (tag: string) => void
  scheme: Scheme
  nextScheme: () => void
}

const Context = createContext<Surroundings | null>(null)

export function useSurroundings(): Surroundings {
  const found = useContext(Context)
  if (found === null) throw new Error('outside of SurroundingsProvider')
  return found
}

export function SurroundingsProvider({ children }: { children: ReactNode }) {
  const [tag, setTag] = useState(() => remembered(LANGUAGE_ITEM, LANGUAGES.map((words) => words.tag)))
  const [scheme, setScheme] = useState<Scheme>(() => remembered(SCHEME_ITEM, SCHEMES) ?? 'auto')
  const isDark = useIsDark(scheme)
  const words = useMemo(() => LANGUAGES.find((each) => each.tag === tag) ?? spoken(navigator.languages), [tag])

  useEffect(() => {
    document.documentElement.lang = words.tag
    document.documentElement.dir = directionOf(words)
    document.title = words.title
  }, [words])
  useEffect(() => {
    // The attribute that packages/ui/src/tokens.css goes by.
    document.documentElement.dataset['mantineColorScheme'] = isDark ? 'dark' : 'light'
  }, [isDark])

  const surroundings = useMemo<Surroundings>(() => {
    const locale = localeOf(words, navigator.languages)
    return {
      words,
      locale,
      time: (atMs, nowMs) => saidTime(atMs, nowMs, locale),
      speak: (next) => { remember(LANGUAGE_ITEM, next); setTag(next) },
      scheme,
      nextScheme: () => {
        const next = SCHEMES[(SCHEMES.indexOf(scheme) + 1) % SCHEMES.length]!
        remember(SCHEME_ITEM, next)
        setScheme(next)
      },
    }
  }, [words, scheme])
  return <Context value={surroundings}>{children}</Context>
}

function useIsDark(scheme: Scheme): boolean {
  const query = useMemo(() => window.matchMedia('(prefers-color-scheme: dark)'), [])
  const [prefersDark, setPrefersDark] = useState(query.matches)
  useEffect(() => {
    const changed = (): void => setPrefersDark(query.matches)
    query.addEventListener('change', changed)
    return () => query.removeEventListener('change', changed)
  }, [query])
  return scheme === 'auto' ? prefersDark : scheme === 'dark'
}

function remembered<T extends string>(item: string, allowed: readonly T[]): T | null {
  try {
    return allowed.find((each) => each === localStorage.getItem(item)) ?? null
  } catch (error) {
    if (error instanceof DOMException) return null // a browser that lets pages keep nothing
    throw error
  }
}

function remember(item: string, value: string): void {
  try {
    localStorage.setItem(item, value)
  } catch (error) {
    if (!(error instanceof DOMException)) throw error
  }
}
