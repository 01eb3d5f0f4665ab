import '@fontsource-variable/inter/wght.css'
import '@innkeeper/ui/tokens.css'
import '../guest.css'
import '../session/check-in.css'
import './kiosk.css'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { Walk } from '../session/walk'
import { SurroundingsProvider } from '../surroundings'
import { spoken } from '../words'
import { Kiosk } from './Kiosk'
import { type Place, placeOf } from './line'

const PLACE_ITEM = 'innkeeper-kiosk'

/** Which kiosk this is: from the link that sets it up, taken out of the address at once; else as it was set up before. */
function place(): Place | null {
  const brought = placeOf(location.hash)
  if (location.hash !== '') history.replaceState(null, '', location.pathname)
  if (brought !== null) localStorage.setItem(PLACE_ITEM, `kiosk=${brought.property}/${brought.token}`)
  return brought ?? placeOf(localStorage.getItem(PLACE_ITEM) ?? '')
}

const root = document.getElementById('root')
if (root === null) throw new Error('kiosk.html has no #root')
const cloud = new URL('../', document.baseURI)
const fetching = (address: URL, init: RequestInit) => fetch(address, init)
const walk = new Walk({
  fetch: fetching,
  root: cloud,
  memory: { get: () => null, set: () => undefined, clear: () => undefined },
  language: () => document.documentElement.lang || 'en',
  go: () => undefined, // a kiosk goes nowhere: paying is the phone's
})
const view = createRoot(root)
const show = (): void => view.render(
  <StrictMode>
    <SurroundingsProvider>
      <Kiosk place={place()} walk={walk} root={cloud} fetch={fetching} nowMs={() => performance.now()} language={spoken(navigator.languages).tag} />
    </SurroundingsProvider>
  </StrictMode>,
)
window.addEventListener('hashchange', () => { if (placeOf(location.hash) !== null) show() })
show()
