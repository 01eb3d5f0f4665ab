/**
 * What a kiosk asks of the house that it stands in (edge/api/kiosk_routes.py): the document on its reader, a receipt.
 *
 * Never throws for what the line or the house does. An order is asked for under a key, so that asking again gives no second
 * one; an answer that does not come leaves it unknown.
 */
import type { Fetch } from '../checkIn'
import { houseAt } from '../house/link'
import { ask } from './line'

const SET_UP = /^#?edge=(?<root>[^/]+)\/(?<token>[A-Za-z0-9_-]{32,512})\/(?<place>[A-Za-z0-9][A-Za-z0-9._-]{0,79})$/u
/** A receipt is printed, or a card given, within so long: the house waits for its devices itself. */
const ORDER_WAIT_MS = 65_000
/** Beside Latin-1, what the printer's code table WPC1252 has. */
const PRINTABLE = /[\n\u0020-\u007e\u00a1-\u00ac\u00ae-\u00ff€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]/u

/** The house as this kiosk reaches it; `place` is where the kiosk's peripherals stand in the site plan. */
export interface Edge {
  root: URL
  token: string
  place: string
}

/** What stands at this kiosk; a name each, null: there is none. */
export interface Peripherals {
  reader: string | null
  printer: string | null
  /** Keys are written on cards and given here. */
  cards: boolean
}

export const NOTHING: Peripherals = { reader: null, printer: null, cards: false }

/** True: it did. False: it certainly did not. Null: nobody knows. */
export type Came = boolean | null

/** What the link that joins a kiosk to its house says; null: it is none, or not a safe one. */
export function edgeOf(text: string): Edge | null {
  const { root, token, place } = SET_UP.exec(text)?.groups ?? {}
  if (root === undefined || token === undefined || place === undefined) return null
  const url = houseAt(root)
  return url === null ? null : { root: url, token, place }
}

export const edgeText = ({ root, token, place }: Edge): string => `edge=${encodeURIComponent(root.origin)}/${token}/${place}`

/** What stands here; nothing where the house does not answer. */
export async function peripheralsAt(edge: Edge, fetch: Fetch): Promise<Peripherals> {
  const told = await ask(fetch, new URL('api/v1/kiosk', edge.root), 'GET', edge.token)
  const kiosks: unknown = told?.said['kiosks']
  const mine: unknown = Array.isArray(kiosks) ? kiosks.find((each: unknown) => isRecord(each) && each['place'] === edge.place) : undefined
  if (told?.status !== 200 || !isRecord(mine)) return NOTHING
  const named = (name: string): string | null => (typeof mine[name] === 'string' ? mine[name] : null)
  return { reader: named('reader'), printer: named('printer'), cards: mine['cards'] === true }
}

/** The zone that was read last, once; null: none within the last minute. */
export async function takeDocument(edge: Edge, reader: string, fetch: Fetch): Promise<string | null> {
  const told = await ask(fetch, new URL(`api/v1/kiosk/${encodeURIComponent(reader)}/document/take`, edge.root), 'POST', edge.token, {})
  const zone = told?.status === 200 ? told.said['zone'] : null
  return typeof zone === 'string' ? zone : null
}

export async function printReceipt(edge: Edge, printer: string, text: string, key: string, fetch: Fetch): Promise<Came> {
  const body = { text, idempotency_key: key, by: `kiosk:${edge.place}` }
  const told = await ask(fetch, new URL(`api/v1/kiosk/${encodeURIComponent(printer)}/receipts`, edge.root), 'POST', edge.token, body, ORDER_WAIT_MS)
  return cameOf(told)
}

/** Have the key written on a card and given, at the cloud or, where `root` is the house, there: one path, one answer. */
export async function giveCard(visit: URL, token: string, place: string, fetch: Fetch): Promise<{ came: Came; room: string | null }> {
  const told = await ask(fetch, visit, 'POST', token, { kiosk: place }, ORDER_WAIT_MS)
  const room = told?.status === 200 ? told.said['room'] : null
  return { came: cameOf(told), room: typeof room === 'string' ? room : null }
}

function cameOf(told: Awaited<ReturnType<typeof ask>>): Came {
  if (told === null || told.status === 0) return null
  const { result, may_have_taken_effect: mayHave } = told.said
  if (told.status >= 500) return mayHave === false ? false : null
  return told.status !== 200 ? false : result === true || result === false ? result : null
}

/** A text as the printer can print it; null: it is written in letters that it has not. */
export function printable(lines: readonly string[]): string | null {
  const text = lines.join('\n').normalize('NFC').replace(/[\u00a0\u2000-\u200a\u202f\u205f]/gu, ' ').replace(/[\u200e\u200f\u2066-\u2069]/gu, '')
  return [...text].every((each) => PRINTABLE.test(each)) ? text : null
}

function isRecord(said: unknown): said is Record<string, unknown> {
  return typeof said === 'object' && said !== null && !Array.isArray(said)
}
