/** The list of properties: asked for again while the list is on screen, kept when an answer fails. */
import { ApiFailure, type Client, type Property } from '@innkeeper/api'
import { useCallback, useEffect, useState } from 'react'

export const ASK_EVERY_MS = 10_000

export interface Properties {
  list: Property[] | null
  failure: ApiFailure | null
  /** Local unix milliseconds of the last good answer. */
  asked_at_ms: number | null
  again: () => void
}

export function useProperties(client: Client, watching: boolean): Properties {
  const [state, setState] = useState<Omit<Properties, 'again'>>({ list: null, failure: null, asked_at_ms: null })
  const [round, setRound] = useState(0)
  const again = useCallback(() => setRound((n) => n + 1), [])
  useEffect(() => {
    const leaving = new AbortController()
    let timer: ReturnType<typeof setTimeout> | undefined
    const ask = async (): Promise<void> => {
      try {
        const list = await client.properties(leaving.signal)
        if (leaving.signal.aborted) return
        setState({ list, failure: null, asked_at_ms: Date.now() })
      } catch (error) {
        if (leaving.signal.aborted) return
        if (!(error instanceof ApiFailure)) throw error
        setState((before) => ({ ...before, failure: error }))
      }
      if (watching) timer = setTimeout(() => void ask(), ASK_EVERY_MS)
    }
    void ask()
    return () => {
      leaving.abort()
      clearTimeout(timer)
    }
  }, [client, watching, round])
  return { ...state, again }
}
