/** Follow one property for as long as this is on screen. */
import { ApiFailure, type Client, type LiveSnapshot, LiveStore } from '@innkeeper/api'
import { useEffect, useMemo, useSyncExternalStore } from 'react'

export function useLive(client: Client, property: string): { store: LiveStore; now: LiveSnapshot } {
  const store = useMemo(
    () =>
      new LiveStore({
        connect: () => new WebSocket(client.liveAddress(property)),
        diagnose: async () => {
          try {
            await client.property(property)
            return null
          } catch (error) {
            if (!(error instanceof ApiFailure)) throw error
            return { kind: error.kind, said: error.message }
          }
        },
      }),
    [client, property],
  )
  useEffect(() => {
    store.start()
    const back = (): void => {
      if (document.visibilityState === 'visible') store.retryNow()
    }
    window.addEventListener('online', back)
    document.addEventListener('visibilitychange', back)
    return () => {
      window.removeEventListener('online', back)
      document.removeEventListener('visibilitychange', back)
      store.stop()
    }
  }, [store])
  return { store, now: useSyncExternalStore(store.subscribe, store.snapshot) }
}
