import '@fontsource-variable/inter/wght.css'
import '@innkeeper/ui/tokens.css'
import '../guest.css'
import { webBluetooth, WebRadio } from '@innkeeper/ble'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { NoStorePage } from '../App'
import { Guest } from '../guest'
import { openKeyring } from '../keyring'
import { SurroundingsProvider } from '../surroundings'
import { House } from './House'
import { houseLinkOf } from './link'

const clock = { nowMs: () => performance.now(), wallMs: () => Date.now(), sleep: (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms)) }

async function start(root: HTMLElement): Promise<void> {
  const link = houseLinkOf(location.hash)
  if (location.hash !== '') history.replaceState(null, '', location.pathname) // in no history, on no screenshot
  const view = createRoot(root)
  try {
    const keyring = await openKeyring(indexedDB)
    const fetching = (address: URL, init: RequestInit) => fetch(address, init)
    const guest = await Guest.start({ keyring, radio: new WebRadio(webBluetooth(navigator)), clock, fetch: fetching, isOnLine: () => navigator.onLine, root: link?.root ?? new URL('../', document.baseURI) })
    view.render(<StrictMode><SurroundingsProvider><House guest={guest} link={link} /></SurroundingsProvider></StrictMode>)
  } catch (error) {
    view.render(<StrictMode><SurroundingsProvider><NoStorePage /></SurroundingsProvider></StrictMode>)
    throw error
  }
  await navigator.storage?.persist?.()
}

const root = document.getElementById('root')
if (root === null) throw new Error('house.html has no #root')
if (import.meta.env.PROD && 'serviceWorker' in navigator) void navigator.serviceWorker.register('./offline.js', { scope: './' })
window.addEventListener('hashchange', () => { if (location.hash !== '') location.reload() })
void start(root)
