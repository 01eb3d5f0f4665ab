import '@fontsource-variable/inter/wght.css'
import '@innkeeper/ui/tokens.css'
import './desk.css'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { App } from './App'
import { Desk } from './desk'
import { passing } from './passing'
import { browserMemory } from './storage'

const SESSION_ITEM = 'innkeeper-desk'

const root = document.getElementById('root')
if (root === null) throw new Error('index.html has no #root')
const house = new URL('../', document.baseURI)
const desk = new Desk({
  fetch: (address, init) => fetch(address, init),
  root: house,
  memory: browserMemory(() => sessionStorage, SESSION_ITEM), // of this tab: another one, or this one closed and opened anew, knows nothing
  nowMs: passing(() => performance.now(), () => Date.now()),
  wallMs: () => Date.now(),
})
createRoot(root).render(<StrictMode><App desk={desk} house={house} /></StrictMode>)
