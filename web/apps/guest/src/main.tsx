import '@fontsource-variable/inter/wght.css'
import '@innkeeper/ui/tokens.css'
import './guest.css'
import './keys/keys.css'
import './late/late.css'
import './session/check-in.css'
import { webBluetooth, WebRadio } from '@innkeeper/ble'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { App, NoStorePage } from './App'
import { type Arrival, arrivalOf } from './arrival'
import { Guest, type GuestState } from './guest'
import { openKeyring } from './keyring'
import { type CameBack, type Memory, Walk } from './session/walk'
import { SurroundingsProvider } from './surroundings'

const LOOK_EACH_MS = 15_000
/** A stay that was made longer is on the phone within 5 s while the page is seen, and when it comes back to the front. */
const RENEW_EACH_MS = 4_000

/** What the link brought; taken out of the address at once, so that it stays in no history and on no screenshot. */
function takeFragment(): Arrival | null {
  const arrival = arrivalOf(location.hash)
  if (arrival !== null) history.replaceState(null, '', location.pathname + location.search)
  return arrival
}

const CHECK_IN_ITEM = 'innkeeper-check-in'

/** What this tab remembers of its check-in; a browser that lets pages keep nothing needs the link again after a reload. */
const memory: Memory = {
  get: () => quietly(() => sessionStorage.getItem(CHECK_IN_ITEM)) ?? null,
  set: (text) => quietly(() => sessionStorage.setItem(CHECK_IN_ITEM, text)),
  clear: () => quietly(() => sessionStorage.removeItem(CHECK_IN_ITEM)),
}

function quietly<T>(use: () => T): T | undefined {
  try {
    return use()
  } catch (error) {
    if (error instanceof DOMException) return undefined
    throw error
  }
}

const holds = ({ holdings, others }: GuestState, stay: string): boolean =>
  holdings.some(({ bundle }) => bundle.stay === stay) || others.some((each) => each.stay === stay)

async function start(root: HTMLElement): Promise<void> {
  const brought = takeFragment()
  const view = createRoot(root)
  const radio = new WebRadio(webBluetooth(navigator))
  const clock = { nowMs: () => performance.now(), wallMs: () => Date.now(), sleep: (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms)) }
  const [fetching, cloud] = [(address: URL, init: RequestInit) => fetch(address, init), new URL('../', document.baseURI)]
  const walk = new Walk({ fetch: fetching, root: cloud, memory, language: () => document.documentElement.lang || 'en', go: (address) => location.assign(address) })
  let guest: Guest
  try {
    const keyring = await openKeyring(indexedDB)
    guest = await Guest.start({ keyring, radio, clock, fetch: fetching, isOnLine: () => navigator.onLine, root: cloud })
  } catch (error) {
    view.render(<StrictMode><SurroundingsProvider><NoStorePage /></SurroundingsProvider></StrictMode>)
    throw error
  }
  /** A link to a stay leads through its check-in first; whatever else comes is a key. */
  const arrive = async (arrival: Arrival, came: CameBack | null = null): Promise<void> => {
    if (arrival.kind === 'payment') {
      const left = walk.remembered()
      return left === null ? walk.stray() : arrive({ kind: 'check-in', invitation: left }, arrival.came)
    }
    if (arrival.kind !== 'check-in') return guest.take(arrival)
    const { invitation } = arrival
    if ((await walk.follow(invitation, came)) === 'keys') return guest.take(arrival)
    // Whoever has the key and opens his link once more wants his doors.
    if (walk.state.session?.isOver === true && holds(guest.state, invitation.stay)) walk.leave()
  }
  view.render(<StrictMode><SurroundingsProvider><App guest={guest} walk={walk} onArrival={(arrival) => void arrive(arrival)} /></SurroundingsProvider></StrictMode>)

  void guest.look()
  setInterval(() => void guest.look(), LOOK_EACH_MS)
  setInterval(() => { if (!document.hidden && navigator.onLine) void guest.renew() }, RENEW_EACH_MS)
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) return
    void guest.look()
    void guest.renew()
  })
  window.addEventListener('hashchange', () => {
    const arrival = takeFragment()
    if (arrival !== null) void arrive(arrival)
  })
  window.addEventListener('pageshow', ({ persisted }) => { if (persisted) walk.returned() })
  const kept = walk.remembered()
  if (brought !== null) await arrive(brought)
  else if (kept !== null) await arrive({ kind: 'check-in', invitation: kept })
  await navigator.storage?.persist?.()
}

const root = document.getElementById('root')
if (root === null) throw new Error('index.html has no #root')
if (import.meta.env.PROD && 'serviceWorker' in navigator) void navigator.serviceWorker.register('./offline.js', { scope: './' })
void start(root)
