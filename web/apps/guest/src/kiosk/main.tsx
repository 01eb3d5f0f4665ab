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
import { type Edge, edgeOf, edgeText } from './edge'
import { Kiosk } from './Kiosk'
import { type Place, placeOf } from './line'

const PLACE_ITEM = 'innkeeper-kiosk'
const EDGE_ITEM = 'innkeeper-kiosk-edge'

/** Which kiosk this is, and in which house: from the links that set it up, taken out of the address at once; else as before. */
function setUp(): { place: Place | null; edge: Edge | null } {
  const [place, edge] = [placeOf(location.hash), edgeOf(location.hash)]
  if (location.hash !== '') history.replaceState(null, '', location.pathname)
  if (place !== null) localStorage.setItem(PLACE_ITEM, `kiosk=${place.property}/${place.token}`)
  if (edge !== null) localStorage.setItem(EDGE_ITEM, edgeText(edge))
  return { place: place ?? placeOf(localStorage.getItem(PLACE_ITEM) ?? ''), edge: edge ?? edgeOf(localStorage.getItem(EDGE_ITEM) ?? '') }
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
  takesNoKeys: true,
})
const view = createRoot(root)
const show = (): void => view.render(
  <StrictMode>
    <SurroundingsProvider>
      <Kiosk {...setUp()} walk={walk} root={cloud} fetch={fetching} nowMs={() => performance.now()} language={spoken(navigator.languages).tag} />
    </SurroundingsProvider>
  </StrictMode>,
)
window.addEventListener('hashchange', () => { if (placeOf(location.hash) !== null || edgeOf(location.hash) !== null) show() })
show()

// After a power cut the kiosk's browser begins anew, and the line may be down with everything else: the page is kept here.
if (import.meta.env.PROD && 'serviceWorker' in navigator) void navigator.serviceWorker.register('./offline.js', { scope: './' })
