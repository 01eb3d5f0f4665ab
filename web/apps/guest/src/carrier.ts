/**
 * The page as a messenger between the house and its locks: doors without a network hear of a check-out, and the house of
 * who opened them, by any guest who walks by. What it carries is sealed and signed; the page can neither read nor make it.
 *
 * Nobody waits for it: it asks when there is a network, a few times an hour, and never says anything to the guest.
 */
import type { Errand, Errands, SignedObject } from '@innkeeper/ble'
import { base64, type Bytes, fromBase64, hex } from '@innkeeper/door'
import type { CheckInInvitation } from './arrival'
import type { Fetch } from './checkIn'
import type { Holding } from './holdings'

export const ASK_EACH_MS = 15 * 60_000
export const REST_AFTER_FAILURE_MS = 60_000
export const CHUNKS_AT_ONCE = 8
export const LOCKS_AT_ONCE = 16
export const CHUNKS_KEPT_MOST = 64
const ANSWER_WAIT_MS = 20_000
const CARRY_MOST = 8

export interface CarriedChunk {
  /** The holding under which it was fetched. */
  holding: string
  lock: string
  sealed: Bytes
}

/** How a lock stands, as the house said last. `reached`: up to where this phone has fetched since. */
export interface LockStanding {
  holding: string
  lock: string
  reached: number
  carry: SignedObject[]
}

/** Where it is kept. Never throws for a store: what cannot be kept is carried by the next phone. */
export interface Carriage {
  chunks(): Promise<(CarriedChunk & { no: number })[]>
  keepChunk(chunk: CarriedChunk): Promise<void>
  dropChunks(nos: readonly number[]): Promise<void>
  standing(holding: string, lock: string): Promise<LockStanding | null>
  keepStanding(standing: LockStanding): Promise<void>
}

interface House {
  holding: string
  invitation: CheckInInvitation
  locks: string[]
}

export class Carrier {
  readonly #carriage: Carriage
  readonly #fetch: Fetch
  readonly #root: URL
  readonly #wallMs: () => number
  readonly #dueMs = new Map<string, number>()
  #isAsking = false

  constructor(carriage: Carriage, fetch: Fetch, root: URL, wallMs: () => number) {
    this.#carriage = carriage
    this.#fetch = fetch
    this.#root = root
    this.#wallMs = wallMs
  }

  /** What to do at the locks of one holding; null: the house cannot be asked for this one. */
  errandsOf(holding: Holding): Errands | null {
    if (holding.from === null) return null
    const carriage = this.#carriage
    return {
      at: async (lock): Promise<Errand | null> => {
        const standing = await carriage.standing(holding.id, lock)
        if (standing === null) return null
        const kept = await carriage.chunks()
        return { carry: standing.carry, after: kept.length < CHUNKS_KEPT_MOST ? standing.reached : null }
      },
      handed: async (lock, object) => {
        const standing = await carriage.standing(holding.id, lock)
        if (standing === null) return
        await carriage.keepStanding({ ...standing, carry: standing.carry.filter(({ signed }) => hex(signed) !== hex(object.signed)) })
      },
      fetched: async (lock, sealed, reached) => {
        await carriage.keepChunk({ holding: holding.id, lock, sealed })
        const standing = await carriage.standing(holding.id, lock)
        if (standing !== null) await carriage.keepStanding({ ...standing, reached: Math.max(standing.reached, reached) })
        this.#dueMs.delete(holding.id) // there is news for the house
      },
    }
  }

  /** Bring and ask for whatever is due. Never throws for what the line or the cloud does; call it as often as you like. */
  async turn(holdings: readonly Holding[]): Promise<void> {
    if (this.#isAsking) return
    this.#isAsking = true
    try {
      for (const holding of holdings) {
        if (holding.from === null || this.#wallMs() < (this.#dueMs.get(holding.id) ?? 0)) continue
        const locks = holding.bundle.doors.map((door) => hex(door.keys.lockId)).slice(0, LOCKS_AT_ONCE)
        const isDone = await this.#ask({ holding: holding.id, invitation: holding.from, locks })
        this.#dueMs.set(holding.id, this.#wallMs() + (isDone ? ASK_EACH_MS : REST_AFTER_FAILURE_MS))
      }
    } finally {
      this.#isAsking = false
    }
  }

  /** Whether the house has been told all there was. */
  async #ask({ holding, invitation, locks }: House): Promise<boolean> {
    const all = (await this.#carriage.chunks()).filter((chunk) => chunk.holding === holding)
    const chunks = all.slice(0, CHUNKS_AT_ONCE)
    const { property, stay, token } = invitation
    const address = new URL(`api/v1/properties/${encodeURIComponent(property)}/stays/${encodeURIComponent(stay)}/carried`, this.#root)
    let answer: Response
    let said: unknown
    try {
      answer = await this.#fetch(address, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${token}` },
        body: JSON.stringify({ chunks: chunks.map(({ lock, sealed }) => ({ lock, sealed: base64(sealed) })), locks }),
        credentials: 'omit',
        cache: 'no-store',
        signal: AbortSignal.timeout(ANSWER_WAIT_MS),
      })
      said = await answer.json()
    } catch (error) {
      if (error instanceof SyntaxError || error instanceof TypeError || error instanceof DOMException) return false
      throw error
    }
    if ([400, 401, 403, 404, 413].includes(answer.status)) {
      await this.#carriage.dropChunks(chunks.map(({ no }) => no)) // nobody will take them from us
      return true
    }
    const told = answer.ok ? toldOf(said) : null
    if (told === null) return false
    const isKept = (at: number): boolean => told.taken[at] === 'later'
    await this.#carriage.dropChunks(chunks.filter((_, at) => !isKept(at)).map(({ no }) => no))
    const waiting = new Set(all.filter((_, at) => at >= chunks.length || isKept(at)).map(({ lock }) => lock))
    for (const { lock, have, carry } of told.locks.filter(({ lock: each }) => locks.includes(each))) {
      const before = await this.#carriage.standing(holding, lock)
      // What is still on its way from here need not be fetched again; what the house lost, or never got, must be.
      const reached = waiting.has(lock) ? Math.max(have, before?.reached ?? 0) : have
      await this.#carriage.keepStanding({ holding, lock, reached, carry: carry.slice(0, CARRY_MOST) })
    }
    return waiting.size === 0
  }
}

interface Told {
  taken: string[]
  locks: { lock: string; have: number; carry: SignedObject[] }[]
}

function toldOf(said: unknown): Told | null {
  if (!isObject(said) || !Array.isArray(said['taken']) || !Array.isArray(said['locks'])) return null
  const taken = said['taken'].map((each: unknown) => (isObject(each) && typeof each['outcome'] === 'string' ? each['outcome'] : ''))
  const locks: Told['locks'] = []
  for (const each of said['locks'] as unknown[]) {
    if (!isObject(each) || typeof each['lock'] !== 'string' || !Number.isSafeInteger(each['have']) || !Array.isArray(each['carry'])) return null
    const carry = each['carry'].map((object: unknown) => (isObject(object) ? signedOf(object) : null))
    if (carry.includes(null)) return null
    locks.push({ lock: each['lock'], have: each['have'] as number, carry: carry as SignedObject[] })
  }
  return { taken, locks }
}

function signedOf(object: Record<string, unknown>): SignedObject | null {
  const [signed, certificate] = [object['signed'], object['certificate']].map((each) => (typeof each === 'string' ? fromBase64(each) : null))
  return signed && certificate ? { signed, certificate } : null
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
