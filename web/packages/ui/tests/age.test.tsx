// @vitest-environment happy-dom
import { MantineProvider } from '@mantine/core'
import { act, type ReactNode } from 'react'
import { createRoot, type Root } from 'react-dom/client'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Age, type Source, SurroundingsProvider, TickerProvider } from '../src'

const START_MS = Date.parse('2026-11-21T12:00:00Z')
const AT = new Date(START_MS).toISOString()
let root: Root
let place: HTMLElement
const clock = { now_ms: () => Date.now() }

beforeEach(() => {
  ;(globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }).IS_REACT_ACT_ENVIRONMENT = true
  vi.useFakeTimers({ now: START_MS })
  place = document.body.appendChild(document.createElement('div'))
  root = createRoot(place)
})
afterEach(() => {
  act(() => root.unmount())
  place.remove()
  vi.useRealTimers()
})

function show(what: ReactNode, source: Source = 'live'): void {
  act(() =>
    root.render(
      <MantineProvider>
        <TickerProvider clock={clock}>
          <SurroundingsProvider value={{ source, zone: 'Europe/Vienna' }}>{what}</SurroundingsProvider>
        </TickerProvider>
      </MantineProvider>,
    ),
  )
}
const pass = (ms: number): void =>
  act(() => {
    vi.advanceTimersByTime(ms)
  })
const age = (): HTMLElement => place.querySelector('time') as HTMLElement

describe('an age', () => {
  it('grows by itself', () => {
    show(<Age at={AT} />)
    expect(age().textContent).toBe('0 s ago')
    pass(7_000)
    expect(age().textContent).toBe('7 s ago')
    pass(60_000)
    expect(age().textContent).toBe('1 min ago')
  })

  it('turns stale when it is older than its kind allows, and says so without colour', () => {
    show(<Age at={AT} staleAfterMs={10_000} />)
    pass(10_000)
    expect(age().dataset['stale']).toBeUndefined()
    pass(1_000)
    expect(age().dataset['stale']).toBe('old')
    expect(age().querySelector('svg')).not.toBeNull()
    expect(age().textContent).toContain('not current')
  })

  it.each(['link', 'stream'] as const)('is held while the %s is cut', (source) => {
    show(<Age at={AT} />, source)
    expect(age().dataset['stale']).toBe('held')
    expect(age().textContent).toContain('not current')
  })

  it('stays a fact of the past when it tells of an event', () => {
    show(<Age at={AT} fact />, 'stream')
    expect(age().dataset['stale']).toBeUndefined()
  })

  it('says never, not zero, of what was never known', () => {
    show(<Age at={null} ago />)
    expect(age().textContent).toBe('never')
  })

  it('says when, at the property, for whoever asks closer', () => {
    show(<Age at={AT} />)
    expect(age().title).toContain('13:00:00 (Europe/Vienna)')
    expect(age().getAttribute('datetime')).toBe(AT)
  })

  it('stops its clock when nobody looks', () => {
    show(<Age at={AT} />)
    expect(vi.getTimerCount()).toBeGreaterThan(0)
    show(null)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('of a clock that is ahead counts from when it reached us, and says so', () => {
    const tomorrow = new Date(START_MS + 86_400_000).toISOString()
    show(<Age at={tomorrow} receivedAt={AT} fact />)
    pass(7_000)
    expect(age().textContent).toBe('7 s ago, its clock is 1 d ahead')
    expect(age().title).toBe('Sun, 22 Nov 2026, 13:00:00 (Europe/Vienna) by its own clock, 1 d ahead; reached us Sat, 21 Nov 2026, 13:00:00 (Europe/Vienna)')
    expect(age().dataset['ahead']).toBe('true')
  })

  it('says nothing of a clock that is a breath ahead, or late', () => {
    show(<Age at={new Date(START_MS + 4_999).toISOString()} receivedAt={AT} fact />)
    expect(age().dataset['ahead']).toBeUndefined()
    expect(age().textContent).toBe('0 s ago')
    show(<Age at={AT} receivedAt={new Date(START_MS + 60_000).toISOString()} fact />)
    pass(61_000)
    expect(age().textContent).toBe('1 min ago')
  })
})
