/**
 * From text on the socket to a message we trust the shape of.
 *
 * The cloud is ours, so this checks what would break a page (is it a list? has it an id?), not every field.
 * Unknown types give null: a newer cloud may say more than this page understands.
 */
import type { AccessEvent, Alert, Link, LiveMessage, Room } from './types'

/** What came is not what the API says. Carries the offending part. */
export class PeerSaidNonsense extends Error {}

type Fields = Record<string, unknown>

function fields(value: unknown, place: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new PeerSaidNonsense(`${place} is no object: ${JSON.stringify(value)?.slice(0, 80)}`)
  }
  return value as Fields
}

function text(from: Fields, key: string, place: string): string {
  const value = from[key]
  if (typeof value !== 'string') throw new PeerSaidNonsense(`${place}.${key} is no text: ${JSON.stringify(value)}`)
  return value
}

function list<T>(from: Fields, key: string, place: string, each: (value: unknown, place: string) => T): T[] {
  const value = from[key]
  if (!Array.isArray(value)) throw new PeerSaidNonsense(`${place}.${key} is no list: ${JSON.stringify(value)?.slice(0, 80)}`)
  return value.map((item, index) => each(item, `${place}.${key}[${index}]`))
}

function room(value: unknown, place: string): Room {
  const from = fields(value, place)
  text(from, 'id', place)
  if (from['floor'] !== null && typeof from['floor'] !== 'number') throw new PeerSaidNonsense(`${place}.floor is no number`)
  list(from, 'conflicts', place, (each, where) => text(fields(each, where), 'kind', where))
  return value as Room
}

function link(value: unknown, place: string): Link {
  const from = fields(value, place)
  text(from, 'state', place)
  if (!Array.isArray(from['lanes'])) throw new PeerSaidNonsense(`${place}.lanes is no list`)
  return value as Link
}

function accessEvent(value: unknown, place: string): AccessEvent {
  const from = fields(value, place)
  for (const key of ['id', 'door', 'at', 'event']) text(from, key, place)
  return value as AccessEvent
}

function alert(value: unknown, place: string): Alert {
  const from = fields(value, place)
  for (const key of ['id', 'kind', 'raised_at', 'detail']) text(from, key, place)
  return value as Alert
}

export function decodeLiveMessage(data: unknown): LiveMessage | null {
  if (typeof data !== 'string') throw new PeerSaidNonsense('the live stream sent bytes where text is agreed')
  let value: unknown
  try {
    value = JSON.parse(data)
  } catch {
    throw new PeerSaidNonsense(`the live stream sent what is not JSON: ${data.slice(0, 80)}`)
  }
  const from = fields(value, 'message')
  switch (text(from, 'type', 'message')) {
    case 'snapshot':
      return {
        type: 'snapshot',
        as_of: text(from, 'as_of', 'snapshot'),
        rooms: list(from, 'rooms', 'snapshot', room),
        link: link(from['link'], 'snapshot.link'),
        access_events: list(from, 'access_events', 'snapshot', accessEvent),
        alerts: list(from, 'alerts', 'snapshot', alert),
      }
    case 'rooms':
      return { type: 'rooms', as_of: text(from, 'as_of', 'rooms'), rooms: list(from, 'rooms', 'rooms', room) }
    case 'access': {
      const events = list(from, 'events', 'access', accessEvent)
      return typeof from['as_of'] === 'string' ? { type: 'access', as_of: from['as_of'], events } : { type: 'access', events }
    }
    case 'alerts':
      return { type: 'alerts', as_of: text(from, 'as_of', 'alerts'), alerts: list(from, 'alerts', 'alerts', alert) }
    case 'link':
      return { type: 'link', as_of: text(from, 'as_of', 'link'), link: link(from['link'], 'link.link') }
    case 'tick':
      return { type: 'tick', as_of: text(from, 'as_of', 'tick') }
    default:
      return null
  }
}
