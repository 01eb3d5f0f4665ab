import '@fontsource-variable/inter/wght.css'
import '@innkeeper/ui/tokens.css'
import './desk.css'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { App } from './App'
import { Desk } from './desk'
import { passing } from './passing'

const SESSION_ITEM = 'innkeeper-desk'

const root = document.getElementById('root')
if (root === null) throw new Error('index.html has no #root')
const house = new URL('../', document.baseURI)
const desk = new Desk({
  fetch: (address, init) => fetch(address, init),
  root: house,
  // of this tab: another one, or this one closed and opened anew, knows nothing
  memory: {
    get: () => sessionStorage.getItem(SESSION_ITEM),
    set: (said) => sessionStorage.setItem(SESSION_ITEM, said),
    clear: () => sessionStorage.removeItem(SESSION_ITEM),
  },
  nowMs: passing(() => performance.now(), () => Date.now()),
  wallMs: () => Date.now(),
})
createRoot(root).render(<StrictMode><App desk={desk} house={house} /></StrictMode>)
