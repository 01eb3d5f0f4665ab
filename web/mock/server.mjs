// A cloud to look at before there is one: speaks the console's part of the cloud API with a seeded, changing hotel.
//
//   node mock/server.mjs [--port 0] [--dist DIR] [--seed 7] [--properties 1] [--floors 3] [--per-floor 8] [--still] [--tick-ms 5000] [--signed-out]
//
// Prints {"port":N} on its first line. --still: nothing changes by itself but the ticks (for tests).
// Knobs, each a GET or POST on /mock/... (answers {"ok":true}); property defaults to the first:
//   /mock/link?state=silent|online|offline|never[&ago_s=240]   the edge's link changes state
//   /mock/event?room=101[&event=opened|refused][&reason=expired][&late_s=0]   somebody (late_s below 0: by a clock that is ahead) at a door
//   /mock/alert?kind=leak[&room=101][&device=d][&detail=words][&cleared=true][&ahead_s=0]   the building raises or clears an alert
//   /mock/room?room=101&light=true|false&temperature=22.4       a value changes
//   /mock/lane?lane=A&gaps=2&backlog=120                         a gap is published, a backlog grows
//   /mock/outage?on=true|false   sockets fall, HTTP is refused   /mock/freeze?on=true|false   sockets stay open, mute
//   /mock/session?signed_out=true|false                          the API answers 401
//   /mock/garbage                                                one message that is not JSON
import { createServer } from 'node:http'
import { readFile } from 'node:fs/promises'
import { extname, join, normalize, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Hotel } from './hotel.mjs'
import { accept } from './websocket.mjs'

const { values: options } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    dist: { type: 'string', default: fileURLToPath(new URL('../../cloud/web/dist', import.meta.url)) },
    seed: { type: 'string', default: '7' },
    properties: { type: 'string', default: '1' },
    floors: { type: 'string', default: '3' },
    'per-floor': { type: 'string', default: '8' },
    still: { type: 'boolean', default: false },
    'tick-ms': { type: 'string', default: '5000' },
    'signed-out': { type: 'boolean', default: false },
    policy: {
      type: 'string',
      default: "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    },
  },
})

const HOTELS = [['aurora', 'Hotel Aurora', 'Europe/Vienna'], ['meridian', 'Meridian Harbour', 'Europe/Lisbon'],
  ['juniper', 'The Juniper', 'America/New_York'], ['kestrel', 'Kestrel House', 'Asia/Tokyo']]
const SECURITY = {
  // As strict as the real cloud, so that what it forbids is seen here first.
  'content-security-policy': options.policy,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
}
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.woff2': 'font/woff2', '.json': 'application/json' }
const PAGE_OF_EVENTS = 50

const now = () => Date.now()
const iso = () => new Date(now()).toISOString()
const hotels = HOTELS.slice(0, Math.max(1, Number(options.properties)))
  .map(([id, name, zone], i) => new Hotel({ id, name, zone, seed: Number(options.seed) + i, now, floors: Number(options.floors), perFloor: Number(options['per-floor']) }))
const viewers = new Map(hotels.map((hotel) => [hotel.id, new Set()]))
const mode = { outage: false, frozen: false, signedOut: options['signed-out'] }

function tell(hotel, message) {
  if (mode.frozen) return
  for (const viewer of viewers.get(hotel.id)) viewer.send(JSON.stringify(message))
}
const tellRooms = (hotel, rooms) => rooms.length > 0 && tell(hotel, { type: 'rooms', as_of: iso(), rooms: rooms.map((room) => hotel.tell(room)) })
const tellLink = (hotel) => tell(hotel, { type: 'link', as_of: iso(), link: hotel.link() })

function openDoor(hotel, room, event, reason, late_ms) {
  const happened = hotel.atDoor(room, event, reason, late_ms)
  if (happened === null) return false
  tell(hotel, { type: 'access', as_of: iso(), events: [happened.event] })
  tellRooms(hotel, [happened.room])
  tellLink(hotel)
  if (event === 'opened' && !options.still) setTimeout(() => tellRooms(hotel, [hotel.relock(room)]), 5_000).unref()
  return true
}

setInterval(() => hotels.forEach((hotel) => tell(hotel, { type: 'tick', as_of: iso() })), Number(options['tick-ms'])).unref()
setInterval(() => hotels.forEach((hotel) => { if (hotel.state === 'online') { hotel.heard(); tellLink(hotel) } }), 2_000).unref()
if (!options.still) {
  setInterval(() => hotels.forEach((hotel) => {
    if (hotel.state !== 'online') return
    tellRooms(hotel, hotel.live())
    if (hotel.dice.chance(0.12)) {
      const room = hotel.dice.pick([...hotel.rooms.values()].filter((each) => each.stay))
      openDoor(hotel, room.id, hotel.dice.chance(0.12) ? 'refused' : 'opened', null, 0)
    }
  }), 1_000).unref()
}

const KNOBS = {
  link(hotel, query) {
    hotel.state = query.get('state') ?? 'online'
    const ago_ms = Number(query.get('ago_s') ?? 0) * 1_000
    if (hotel.state === 'online') hotel.heard()
    else if (hotel.state === 'never') hotel.heardAt = hotel.ackAt = hotel.backlog = null
    else { hotel.heardAt = now() - ago_ms; hotel.ackAt = hotel.heardAt - 900 }
    tellLink(hotel)
    tellRooms(hotel, [...hotel.rooms.values()])
  },
  event(hotel, query) {
    return openDoor(hotel, query.get('room') ?? '101', query.get('event') ?? 'opened', query.get('reason'), Number(query.get('late_s') ?? 0) * 1_000)
  },
  alert(hotel, query) {
    const kind = query.get('kind'), room = query.get('room')
    if (query.get('cleared') === 'true') hotel.clear(kind, room)
    else hotel.raise({ kind, room, device: query.get('device'), detail: query.get('detail') ?? '', ahead_ms: Number(query.get('ahead_s') ?? 0) * 1_000 })
    tell(hotel, { type: 'alerts', as_of: iso(), alerts: hotel.alerts })
  },
  room(hotel, query) {
    const room = hotel.rooms.get(query.get('room'))
    if (!room) return false
    if (query.has('light')) Object.assign(room.light, { on: query.get('light') === 'true', at: iso(), quality: 'good' })
    if (query.has('temperature')) Object.assign(room.climate, { temperature: Number(query.get('temperature')), at: iso(), quality: 'good' })
    tellRooms(hotel, [room])
  },
  lane(hotel, query) {
    const lane = query.get('lane') ?? 'A'
    if (query.has('gaps')) hotel.gaps[lane] = Number(query.get('gaps'))
    if (query.has('backlog')) hotel.backlog = { ...hotel.backlog, [lane.toLowerCase()]: Number(query.get('backlog')) }
    tellLink(hotel)
  },
  outage(_, query) {
    mode.outage = query.get('on') !== 'false'
    if (mode.outage) for (const all of viewers.values()) for (const viewer of all) viewer.drop()
  },
  freeze(_, query) { mode.frozen = query.get('on') !== 'false' },
  session(_, query) {
    mode.signedOut = query.get('signed_out') !== 'false'
    if (mode.signedOut) for (const all of viewers.values()) for (const viewer of all) viewer.drop()
  },
  garbage(hotel) { for (const viewer of viewers.get(hotel.id)) viewer.send('{"type":') },
}

function json(response, status, body) {
  response.writeHead(status, { ...SECURITY, 'content-type': status < 400 ? 'application/json' : 'application/problem+json' })
  response.end(JSON.stringify(body))
}

function api(path, query, response) {
  if (path === '/api/v1/sign-in/ways') return json(response, 200, { passkeys: false, companies: false })
  if (mode.signedOut) return json(response, 401, { type: 'about:blank', title: 'Sign in first', status: 401 })
  if (path === '/api/v1/properties') return json(response, 200, { properties: hotels.map((hotel) => hotel.property()) })
  const [, id, rest] = /^\/api\/v1\/properties\/([^/]+)(\/.*)?$/.exec(path) ?? []
  const hotel = hotels.find((each) => each.id === id)
  if (hotel === undefined) return json(response, 404, { type: 'about:blank', title: 'No such property', status: 404, detail: `There is no property ${id}.` })
  if (rest === undefined) return json(response, 200, hotel.property())
  if (rest === '/rooms') return json(response, 200, { as_of: iso(), rooms: hotel.told() })
  if (rest === '/alerts') return json(response, 200, { alerts: hotel.alerts, next: null })
  if (rest === '/access-events') {
    const limit = Math.min(200, Number(query.get('limit') ?? PAGE_OF_EVENTS))
    const from = query.has('before') ? hotel.events.findIndex((event) => event.id === query.get('before')) + 1 : 0
    const events = hotel.events.slice(from, from + limit)
    return json(response, 200, { events, next: from + limit < hotel.events.length ? events.at(-1).id : null })
  }
  return json(response, 404, { type: 'about:blank', title: 'Not found', status: 404 })
}

async function file(path, response) {
  const wanted = normalize(join(options.dist, path === '/' ? 'index.html' : decodeURIComponent(path)))
  if (!wanted.startsWith(normalize(options.dist) + sep)) return json(response, 404, { title: 'Not found', status: 404 })
  try {
    const body = await readFile(wanted)
    response.writeHead(200, { ...SECURITY, 'content-type': TYPES[extname(wanted)] ?? 'application/octet-stream', 'cache-control': 'no-cache' })
    response.end(body)
  } catch {
    json(response, 404, { type: 'about:blank', title: 'Not found', status: 404 })
  }
}

const server = createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url, 'http://mock')
  if (pathname.startsWith('/mock/')) {
    const knob = KNOBS[pathname.slice('/mock/'.length)]
    const hotel = hotels.find((each) => each.id === searchParams.get('property')) ?? hotels[0]
    const done = knob?.(hotel, searchParams) ?? (knob !== undefined)
    return json(response, done ? 200 : 404, { ok: done })
  }
  if (mode.outage) return request.socket.destroy()
  if (pathname === '/sign-in') {
    mode.signedOut = false
    response.writeHead(303, { location: '/' })
    return response.end()
  }
  if (pathname.startsWith('/api/')) return api(pathname, searchParams, response)
  return void file(pathname, response)
})

server.on('upgrade', (request, socket) => {
  const [, id] = /^\/api\/v1\/properties\/([^/]+)\/live$/.exec(new URL(request.url, 'http://mock').pathname) ?? []
  const hotel = hotels.find((each) => each.id === id)
  if (mode.outage) return socket.destroy()
  if (mode.signedOut || hotel === undefined) {
    return socket.end(`HTTP/1.1 ${mode.signedOut ? '401 Unauthorized' : '404 Not Found'}\r\nConnection: close\r\n\r\n`)
  }
  const viewer = accept(request, socket, () => viewers.get(hotel.id).delete(viewer))
  viewers.get(hotel.id).add(viewer)
  if (!mode.frozen) {
    viewer.send(JSON.stringify({
      type: 'snapshot', as_of: iso(), rooms: hotel.told(), link: hotel.link(), access_events: hotel.events.slice(0, PAGE_OF_EVENTS), alerts: hotel.alerts,
    }))
  }
})

server.listen(Number(options.port), '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })))
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0))
