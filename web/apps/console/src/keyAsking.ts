/** What the cloud tells of keys, and what is asked of it: shapes after its OpenAPI, and forms read into them. No React. */
import { asked } from './passkeys'

export interface Closings {
  signed: boolean
  withdrawn: { grant: string; until: string | null }[]
  unlisted: number
  unlisted_until: string | null
  issuers: string[]
  doors: number
  waiting: number
  waiting_doors: { door: string; room: string; contact_at: string | null; unable: string | null }[]
  sealed: { door: string; room: string; sealed: boolean; confirmed: boolean; contact_at: string | null; unable: string | null }[]
}

export interface EmergencyDraft {
  grant: string
  person: string
  reason: string
  doors: string[]
  statement: string
  officers: string[]
  drafted_by: string
  until: string | null
  approvals: { by: string; officer: string; at: string | null }[]
  issued: boolean
  withdrawn_at: string | null
  withdrawn_by: string | null
}

export interface StayPhone {
  phone: string
  grant: string
  join: boolean
  not_before: string | null
  not_after: string | null
  withdrawn: boolean
}

export type Role = 'viewer' | 'staff' | 'admin'

export const APPROVALS = 2
const POINT = /^0[23][0-9a-f]{64}$/u
const NAME = /^[a-z0-9][a-z0-9-]{0,39}$/u

/** One question to the cloud: asked again after a lost answer it is the same one, until it was answered. */
export class Question {
  #key: string | null = null

  /** Ask with the key of the question that is open; an answer, good or bad, ends it. A line that broke does not. */
  async ask<T>(path: string, body: Record<string, unknown>): Promise<T> {
    this.#key ??= crypto.randomUUID()
    const key = this.#key
    try {
      const answer = await asked<T>('POST', path, { ...body, idempotency_key: key })
      this.#key = null
      return answer
    } catch (error) {
      if (!isOpen(error)) this.#key = null
      throw error
    }
  }
}

const isOpen = (error: unknown): boolean => typeof error === 'object' && error !== null && 'kind' in error && ['unreachable', 'unanswered'].includes(String(error.kind))

/** Why a field is not of its form; null: it is. */
export const wrongPoint = (text: string): string | null => (POINT.test(text) ? null : 'The code that the phone shows: 66 digits and letters a to f, beginning with 02 or 03.')
export const wrongPerson = (text: string): string | null => (NAME.test(text) ? null : 'A short name in small letters, digits and dashes, such as maria-k.')
export const wrongReason = (text: string): string | null => (text.trim().length < 3 ? 'Say in a few words why; it is kept for the record.' : null)

/** The rooms of a field such as "101, 102"; null: none, or not rooms of this house. */
export function roomsOf(text: string, known: readonly string[]): string[] | null {
  const rooms = [...new Set(text.split(/[\s,;]+/u).filter((room) => room !== ''))]
  return rooms.length > 0 && rooms.every((room) => known.includes(room)) ? rooms : null
}

const ZONES_MOST = 2n ** 53n

/** A zone as the cloud tells it, and every common door that it opens. */
export interface CommonZone {
  zones: number
  doors: string[]
}

/** The zones that were chosen, such as "1 4", as one mask; null: none, or more than a key can name. */
export function zonesOf(text: string): number | null {
  const named = text.split(/[\s,;]+/u).filter((zones) => zones !== '')
  if (named.length === 0 || !named.every((zones) => /^[1-9][0-9]{0,15}$/u.test(zones))) return null
  const mask = named.reduce((all, zones) => all | BigInt(zones), 0n)
  return mask < ZONES_MOST ? Number(mask) : null
}

/** How a draft stands, in one word. */
export type DraftStanding = 'withdrawn' | 'issued' | 'over' | 'approved' | 'waiting'

export function standingOf(draft: EmergencyDraft, nowMs: number): DraftStanding {
  if (draft.withdrawn_at !== null) return 'withdrawn'
  if (draft.until !== null && nowMs >= Date.parse(draft.until)) return 'over'
  if (draft.issued) return 'issued'
  return draft.approvals.length >= APPROVALS ? 'approved' : 'waiting'
}

/** The link that puts a bundle on the phone that it was made for. */
export function keyLink(bundle: unknown, base: string): string {
  const text = btoa(String.fromCharCode(...new TextEncoder().encode(JSON.stringify(bundle))))
  return new URL(`guest/#key=${text.replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/u, '')}`, base).href
}
