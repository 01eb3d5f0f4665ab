/**
 * The service worker: keeps the page's own files, so that it opens in a cellar, a lift and in airplane mode.
 *
 * The build writes the list in front of it (`self.__PAGE`). It answers for this page's files and nothing else: no answer of
 * the API is ever kept, and what is not in the list goes to the network as if there were no worker.
 */
interface PageFiles {
  version: string
  files: string[]
}

interface WorkerEvent extends Event {
  waitUntil(work: Promise<unknown>): void
}

interface FetchEvent extends WorkerEvent {
  readonly request: Request
  respondWith(answer: Promise<Response>): void
}

interface Worker {
  __PAGE: PageFiles
  registration: { scope: string }
  skipWaiting(): Promise<void>
  clients: { claim(): Promise<void> }
  addEventListener(kind: string, heard: (event: Event) => void): void
}

const worker = self as unknown as Worker
const PREFIX = 'innkeeper-guest-'
const NAME = `${PREFIX}${worker.__PAGE.version}`
const HOME = new URL('index.html', worker.registration.scope).href
const OTHERS = ['kiosk.html', 'house.html'].map((page) => new URL(page, worker.registration.scope).href)

async function keepAll(): Promise<void> {
  const cache = await caches.open(NAME)
  // Past the HTTP cache: a page and its parts must be of one build.
  await cache.addAll(worker.__PAGE.files.map((file) => new Request(new URL(file, worker.registration.scope), { cache: 'reload' })))
  await worker.skipWaiting()
}

async function dropOthers(): Promise<void> {
  const names = await caches.keys()
  await Promise.all(names.filter((name) => name.startsWith(PREFIX) && name !== NAME).map((name) => caches.delete(name)))
  await worker.clients.claim()
}

const pageAt = (url: string): string => OTHERS.find((page) => new URL(page).pathname === new URL(url).pathname) ?? HOME

async function kept(request: Request): Promise<Response> {
  const cache = await caches.open(NAME)
  const found = await cache.match(request.mode === 'navigate' ? pageAt(request.url) : request, { ignoreSearch: true })
  return found ?? fetch(request)
}

worker.addEventListener('install', (event) => (event as WorkerEvent).waitUntil(keepAll()))
worker.addEventListener('activate', (event) => (event as WorkerEvent).waitUntil(dropOthers()))
worker.addEventListener('fetch', (event) => {
  const { request } = event as FetchEvent
  if (request.method === 'GET' && request.url.startsWith(worker.registration.scope)) (event as FetchEvent).respondWith(kept(request))
})

export {}
