/**
 * One heartbeat for every age on the page.
 *
 * A hundred ages share one timer; each draws again only when its own words change.
 */
import { createContext, type ReactNode, useContext, useEffect, useMemo, useSyncExternalStore } from 'react'
import type { CloudClock } from '@innkeeper/api'

const BEAT_MS = 1_000

export class Ticker {
  readonly #clock: Pick<CloudClock, 'now_ms'>
  readonly #readers = new Set<() => void>()
  #timer: ReturnType<typeof setInterval> | null = null
  #now_ms: number

  constructor(clock: Pick<CloudClock, 'now_ms'>) {
    this.#clock = clock
    this.#now_ms = clock.now_ms()
  }

  /** The time of the last beat: the same for every reader of one drawing. */
  readonly now_ms = (): number => this.#now_ms

  readonly subscribe = (reader: () => void): (() => void) => {
    this.#readers.add(reader)
    this.#timer ??= setInterval(this.beat, BEAT_MS)
    return () => {
      this.#readers.delete(reader)
      if (this.#readers.size === 0 && this.#timer !== null) {
        clearInterval(this.#timer)
        this.#timer = null
      }
    }
  }

  readonly beat = (): void => {
    this.#now_ms = this.#clock.now_ms()
    for (const reader of [...this.#readers]) reader()
  }
}

const TickerContext = createContext<Ticker | null>(null)

export function TickerProvider({ clock, children }: { clock: Pick<CloudClock, 'now_ms'>; children: ReactNode }) {
  const ticker = useMemo(() => new Ticker(clock), [clock])
  useEffect(() => {
    const wake = (): void => ticker.beat() // timers sleep with a hidden tab; ages must not
    document.addEventListener('visibilitychange', wake)
    return () => document.removeEventListener('visibilitychange', wake)
  }, [ticker])
  return <TickerContext value={ticker}>{children}</TickerContext>
}

export function useTicker(): Ticker {
  const ticker = useContext(TickerContext)
  if (ticker === null) throw new Error('an age stands outside a TickerProvider')
  return ticker
}

/** Draw again when what `select` makes of the time changes. It must return something that compares by value. */
export function useTime<T extends string | number | boolean | null>(select: (now_ms: number) => T): T {
  const ticker = useTicker()
  return useSyncExternalStore(ticker.subscribe, () => select(ticker.now_ms()))
}
