/** The check-in session as the cloud tells it (cloud/public/checkin_schema.py), read with suspicion; and its calls. */
import type { CheckInInvitation } from '../arrival'
import type { Fetch } from '../checkIn'
import type { CheckInTrouble } from '../words'

export const ANSWER_WAIT_MS = 15_000
export const SLOTS_MOST = 20

const KINDS = ['identity', 'document', 'registration_card', 'terms', 'payment', 'room', 'grant'] as const
const STATES = ['open', 'needs_staff', 'done', 'waived'] as const

export type StepKind = (typeof KINDS)[number]
export type StepState = (typeof STATES)[number]

/** `subject`: a guest's slot (g1 the lead guest), a stay, or `party`. */
export interface Step {
  step: StepKind
  subject: string
  state: StepState
  reason: string | null
}

export interface Session {
  id: string
  house: string
  zone: string
  arrivesMs: number
  leavesMs: number
  isOver: boolean
  terms: string | null
  deposit: { currency: string; minor: number } | null
  payment: PaymentStanding | null
  steps: Step[]
  next: Step | null
  waitsFor: 'room' | 'staff' | null
  helpAskedMs: number | null
  /** Of a house that is cut off: the forms in which the key is to be had at its kiosk; null: the cloud tells of none. */
  keys: string[] | null
}

/** How the deposit stands; `state` is the newest payment's, null before there was one. `byPage`: he can pay on the provider's page. */
export interface PaymentStanding {
  byPage: boolean
  state: string | null
  failure: string | null
}

/** The terms as they are shown; `text` null: the front desk has them on paper. */
export interface Terms {
  version: string
  language: string | null
  text: string | null
  sha256: string | null
}

/** What one of the party tells of himself; the cloud's GuestFacts. */
export interface GuestFacts {
  surname: string
  given_names: string
  birth_date?: string
  nationality?: string
  birth_state?: string
  address?: string
}

/** Where a typed zone does not hold; line and columns count from 1. */
export interface Finding {
  field: string
  line: number
  first: number
  last: number
}

export type Problem =
  | { kind: 'line'; trouble: CheckInTrouble; fromMs: number | null }
  | { kind: 'field'; field: string }
  | { kind: 'zone'; findings: Finding[] }
  | { kind: 'front_desk' }
  /** The payment provider cannot be asked, or takes nothing here. */
  | { kind: 'payment'; what: 'away' | 'refused' }
  | { kind: 'gone' }

export type Answer = { kind: 'session'; session: Session } | Problem

const TROUBLES: readonly CheckInTrouble[] = ['too_early', 'ended', 'not_in_house', 'not_ready', 'key_reused']

/** The calls of one guest's link. Never throws for what the line or the cloud does. */
export class SessionLine {
  readonly #root: URL
  readonly #token: string
  readonly #fetch: Fetch

  constructor({ property, stay, token }: CheckInInvitation, root: URL, fetch: Fetch) {
    this.#root = new URL(`api/v1/properties/${encodeURIComponent(property)}/stays/${encodeURIComponent(stay)}/session`, root)
    this.#token = token
    this.#fetch = fetch
  }

  begin(language: string): Promise<Answer> {
    return this.#ask('POST', '', { channel: 'web', language })
  }

  read(): Promise<Answer> {
    return this.#ask('GET', '')
  }

  tell(slot: string, facts: GuestFacts): Promise<Answer> {
    return this.#ask('PUT', `/guests/${slot}`, facts)
  }

  show(slot: string, mrz: string): Promise<Answer> {
    return this.#ask('POST', `/guests/${slot}/document`, { mrz })
  }

  sign(slot: string, signedAs: string): Promise<Answer> {
    return this.#ask('POST', `/guests/${slot}/signature`, { signed_as: signedAs })
  }

  async terms(language: string): Promise<{ kind: 'terms'; terms: Terms } | Problem> {
    const answer = await this.#send('GET', `/terms?language=${encodeURIComponent(language)}`)
    if (answer.kind !== 'said') return answer
    const terms = answer.status === 200 ? termsOf(answer.said) : null
    return terms === null ? (answer.status === 200 ? line('strange') : problemOf(answer.status, recordOf(answer.said))) : { kind: 'terms', terms }
  }

  accept({ version, language, sha256 }: Terms): Promise<Answer> {
    return this.#ask('POST', '/terms', { version, language, sha256 })
  }

  /** Where to pay; null: there is nothing left to pay. */
  async page(language: string): Promise<{ kind: 'page'; address: URL | null } | Problem> {
    const answer = await this.#send('POST', '/payment/page', { language })
    if (answer.kind !== 'said') return answer
    const said = recordOf(answer.said)
    if (answer.status === 200) return said['url'] === null ? { kind: 'page', address: null } : pageOf(said['url'], this.#root)
    if (said['reason'] === 'deposit_done' || said['reason'] === 'no_deposit') return { kind: 'page', address: null }
    if (answer.status >= 500) return { kind: 'payment', what: 'away' }
    return answer.status === 409 ? { kind: 'payment', what: 'refused' } : problemOf(answer.status, said)
  }

  /** Have the cloud ask the payment provider now. Whatever came of it, the session tells. */
  async lookAtPayment(): Promise<void> {
    await this.#send('POST', '/payment/look')
  }

  help(reason: string): Promise<Answer> {
    return this.#ask('POST', '/help', { reason })
  }

  async #ask(method: string, path: string, body?: object): Promise<Answer> {
    const answer = await this.#send(method, path, body)
    if (answer.kind !== 'said') return answer
    if (answer.status !== 200) return problemOf(answer.status, recordOf(answer.said))
    const session = sessionOf(answer.said)
    return session === null ? line('strange') : { kind: 'session', session }
  }

  async #send(method: string, path: string, body?: object): Promise<{ kind: 'said'; status: number; said: unknown } | Problem> {
    const headers: Record<string, string> = { Authorization: `Bearer ${this.#token}` }
    if (body !== undefined) headers['Content-Type'] = 'application/json'
    try {
      const answer = await this.#fetch(new URL(this.#root.href + path), {
        method,
        headers,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        credentials: 'omit',
        cache: 'no-store',
        signal: AbortSignal.timeout(ANSWER_WAIT_MS),
      })
      return { kind: 'said', status: answer.status, said: await answer.json() }
    } catch (error) {
      if (error instanceof SyntaxError) return line('strange')
      if (error instanceof TypeError) return line('offline')
      if (error instanceof DOMException) return line('unanswered')
      throw error
    }
  }
}

/** The provider's page: an address without TLS is followed only from a page that has none itself. */
function pageOf(said: unknown, root: URL): { kind: 'page'; address: URL } | Problem {
  const address = typeof said === 'string' && URL.canParse(said) ? new URL(said) : null
  return address !== null && (address.protocol === 'https:' || (address.protocol === 'http:' && root.protocol === 'http:')) ? { kind: 'page', address } : line('strange')
}

function termsOf(said: unknown): Terms | null {
  const { version, language, text, sha256 } = recordOf(said)
  if (typeof version !== 'string') return null
  const shown = typeof text === 'string' && typeof sha256 === 'string' && typeof language === 'string'
  return shown ? { version, language, text, sha256 } : text === null ? { version, language: null, text: null, sha256: null } : null
}

export function problemOf(status: number, said: Record<string, unknown>): Problem {
  if (status === 401 || status === 403 || status === 404) return line('signed_out')
  if (status === 422) return { kind: 'zone', findings: findingsOf(said['findings']) }
  if (status === 400) return { kind: 'field', field: fieldOf(said) }
  const reason = said['reason']
  if (reason === 'front_desk') return { kind: 'front_desk' }
  if (reason === 'no_session') return { kind: 'gone' }
  const from = typeof said['available_from'] === 'string' ? Date.parse(said['available_from']) : Number.NaN
  const trouble = TROUBLES.find((each) => each === reason)
  return line(trouble ?? (status === 429 || status >= 500 ? 'edge_away' : 'strange'), Number.isNaN(from) ? null : from)
}

/** A session; null for what is none. Steps of a kind that this page does not know are refused whole: none may be skipped. */
export function sessionOf(said: unknown): Session | null {
  if (!isRecord(said)) return null
  const { id, house, zone, state, terms, deposit, steps, next, waits_for: waits, help_asked_at: helped } = said
  const [arrivesMs, leavesMs] = [timeOf(said['arrives_at']), timeOf(said['leaves_at'])]
  if (typeof id !== 'string' || typeof house !== 'string' || typeof zone !== 'string' || typeof state !== 'string') return null
  if (arrivesMs === null || leavesMs === null || !Array.isArray(steps)) return null
  const read = steps.map(stepOf)
  if (!read.every((step) => step !== null)) return null
  const following = next === null ? null : stepOf(next)
  if (next !== null && following === null) return null
  return {
    id, house, zone, arrivesMs, leavesMs,
    isOver: state !== 'open',
    terms: typeof terms === 'string' ? terms : null,
    deposit: depositOf(deposit),
    payment: paymentOf(said['deposit_standing']),
    steps: read,
    next: following,
    waitsFor: waits === 'room' || waits === 'staff' ? waits : null,
    helpAskedMs: timeOf(helped),
    keys: Array.isArray(said['keys']) ? said['keys'].filter((each): each is string => typeof each === 'string') : null,
  }
}

function stepOf(said: unknown): Step | null {
  if (!isRecord(said)) return null
  const [step, state] = [KINDS.find((each) => each === said['step']), STATES.find((each) => each === said['state'])]
  const { subject, reason } = said
  if (step === undefined || state === undefined || typeof subject !== 'string') return null
  return { step, subject, state, reason: typeof reason === 'string' ? reason : null }
}

function depositOf(said: unknown): Session['deposit'] {
  if (!isRecord(said) || typeof said['currency'] !== 'string' || typeof said['minor'] !== 'number') return null
  return { currency: said['currency'], minor: said['minor'] }
}

function paymentOf(said: unknown): PaymentStanding | null {
  if (!isRecord(said)) return null
  const { by_page: byPage, state, failure } = said
  return { byPage: byPage === true, state: typeof state === 'string' ? state : null, failure: typeof failure === 'string' ? failure : null }
}

function findingsOf(said: unknown): Finding[] {
  if (!Array.isArray(said)) return []
  const found = said.flatMap((each: unknown) => {
    if (!isRecord(each)) return []
    const { field, line: at, first, last } = each
    return typeof field === 'string' && typeof at === 'number' && typeof first === 'number' && typeof last === 'number' ? [{ field, line: at, first, last }] : []
  })
  // The check digit of the whole is wrong wherever a part is: the part is what to look at.
  const parts = found.filter(({ field }) => field !== 'composite')
  return parts.length > 0 ? parts : found
}

/** Which field a 400 is about: ours is named; the framework's list names a key. */
function fieldOf(said: Record<string, unknown>): string {
  if (typeof said['field'] === 'string') return said['field']
  const detail = typeof said['detail'] === 'string' ? said['detail'] : ''
  return /\$\.([a-z_]+)/u.exec(detail + JSON.stringify(said['errors'] ?? ''))?.[1] ?? ''
}

function timeOf(said: unknown): number | null {
  const ms = typeof said === 'string' ? Date.parse(said) : Number.NaN
  return Number.isNaN(ms) ? null : ms
}

function line(trouble: CheckInTrouble, fromMs: number | null = null): Problem {
  return { kind: 'line', trouble, fromMs }
}

const recordOf = (said: unknown): Record<string, unknown> => (isRecord(said) ? said : {})

function isRecord(said: unknown): said is Record<string, unknown> {
  return typeof said === 'object' && said !== null && !Array.isArray(said)
}
