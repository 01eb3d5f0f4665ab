import '@fontsource-variable/inter/wght.css'
import '@innkeeper/ui/tokens.css'
import './guest.css'
import { webBluetooth, WebRadio } from '@innkeeper/ble'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { App, NoStorePage } from './App'
import { type Arrival, arrivalOf } from './arrival'
import { Guest } from './guest'
import { openKeyring } from './keyring'
import { SurroundingsProvider } from './surroundings'

const LOOK_EACH_MS = 15_000

/** What the link brought; taken out of the address at once, so that it stays in no history and on no screenshot. */
function takeFragment(): Arrival | null {
  const arrival = arrivalOf(location.hash)
  if (arrival !== null) history.replaceState(null, '', location.pathname + location.search)
  return arrival
}

async function start(root: HTMLElement): Promise<void> {
  const brought = takeFragment()
  const view = createRoot(root)
  const radio = new WebRadio(webBluetooth(navigator))
  const clock = { nowMs: () => performance.now(), wallMs: () => Date.now(), sleep: (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms)) }
  let guest: Guest
  try {
    const keyring = await openKeyring(indexedDB)
    guest = await Guest.start({ keyring, radio, clock, fetch: (address, init) => fetch(address, init), root: new URL('../', document.baseURI) })
  } catch (error) {
    view.render(<StrictMode><SurroundingsProvider><NoStorePage /></SurroundingsProvider></StrictMode>)
    throw error
  }
  view.render(<StrictMode><SurroundingsProvider><App guest={guest} /></SurroundingsProvider></StrictMode>)

  void guest.look()
  setInterval(() => void guest.look(), LOOK_EACH_MS)
  document.addEventListener('visibilitychange', () => { if (!document.hidden) void guest.look() })
  window.addEventListener('hashchange', () => {
    const arrival = takeFragment()
    if (arrival !== null) void guest.take(arrival)
  })
  if (brought !== null) await guest.take(brought)
  await navigator.storage?.persist?.()
}

const root = document.getElementById('root')
if (root === null) throw new Error('index.html has no #root')
if (import.meta.env.PROD && 'serviceWorker' in navigator) void navigator.serviceWorker.register('./offline.js', { scope: './' })
void start(root)
