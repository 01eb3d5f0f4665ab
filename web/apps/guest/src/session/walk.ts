/**
 * One guest's way through the check-in, without its looks: which step is on the screen, what was answered, what went wrong.
 *
 * The cloud decides what there is to do and what is done; this only remembers the link while the tab lives, so that a
 * reload goes on. Another device goes on with the same link.
 */
import type { CheckInInvitation } from '../arrival'
import type { Fetch } from '../checkIn'
import { type Answer, type GuestFacts, type Problem, type Session, SessionLine, type Step, type StepKind, type Terms } from './wire'

/** What a tab keeps until it is closed. */
export interface Memory {
  get(): string | null
  set(text: string): void
  clear(): void
}

export interface WalkState {
  session: Session | null
  /** The first answer of a link is being fetched. */
  isBeginning: boolean
  isBusy: boolean
  problem: Problem | null
  /** A step that the guest wants to do over; null: the next one. */
  again: Step | null
  /** A session that had ended meanwhile was begun anew. */
  isAnew: boolean
  /** The tab is on its way to the payment provider's page. */
  isLeaving: boolean
  /** From where it came back: paid as the provider said, or left. The session tells what is true. */
  came: CameBack | null
  /** A browser that came back from paying and knows no check-in: another one than the guest's. */
  isStrayed: boolean
}

export type CameBack = 'done' | 'left'

export interface WalkPorts {
  fetch: Fetch
  root: URL
  memory: Memory
  language: () => string
  /** Go to an address in this tab. */
  go: (address: URL) => void
  /** This browser takes no keys: where nothing else is left to do, the check-in stays on the screen. */
  takesNoKeys?: boolean
}

const NOTHING: WalkState = { session: null, isBeginning: false, isBusy: false, problem: null, again: null, isAnew: false, isLeaving: false, came: null, isStrayed: false }
/** How often the provider is asked, not only the cloud, after a guest came back who says that he has paid. */
const PROVIDER_LOOKS_MOST = 24
const UNSETTLED: readonly (string | null)[] = ['asked', 'needs_guest', 'pending']
const AGAIN_KINDS: readonly StepKind[] = ['identity', 'document', 'registration_card']

export class Walk {
  state: WalkState = NOTHING
  invitation: CheckInInvitation | null = null
  readonly #ports: WalkPorts
  readonly #listeners = new Set<() => void>()
  #line: SessionLine | null = null
  #providerLooks = 0

  constructor(ports: WalkPorts) {
    this.#ports = ports
  }

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** The link that this tab was on before it was loaded again. */
  remembered(): CheckInInvitation | null {
    try {
      const kept: unknown = JSON.parse(this.#ports.memory.get() ?? 'null')
      const { property, stay, token } = (kept ?? {}) as Record<string, unknown>
      return typeof property === 'string' && typeof stay === 'string' && typeof token === 'string' ? { property, stay, token } : null
    } catch (error) {
      if (error instanceof SyntaxError) return null
      throw error
    }
  }

  /** Begin, or go on with, the check-in of a link, at `root`. Returns `keys` if nothing is asked of the guest but his phone. */
  async follow(invitation: CheckInInvitation, came: CameBack | null = null, root: URL = this.#ports.root): Promise<'keys' | 'walk'> {
    this.invitation = invitation
    this.#line = new SessionLine(invitation, root, this.#ports.fetch)
    this.#providerLooks = 0
    this.#set({ ...NOTHING, isBeginning: true, came })
    const answer = await this.#line.begin(this.#ports.language())
    this.#ports.memory.set(JSON.stringify(invitation))
    if (answer.kind !== 'session') {
      this.#set({ isBeginning: false, problem: answer })
      return 'walk'
    }
    if (this.#ports.takesNoKeys !== true && answer.session.steps.every(({ step, state }) => step === 'grant' || (step === 'room' && state === 'done'))) {
      this.leave()
      return 'keys'
    }
    this.#set({ isBeginning: false, session: answer.session })
    if (came === 'done') void this.look()
    return 'walk'
  }

  /** The tab came back from paying, and knows no check-in. */
  stray(): void {
    this.#set({ ...NOTHING, isStrayed: true })
  }

  /** Put the check-in off the screen; the link brings it back. */
  leave(): void {
    this.#ports.memory.clear()
    this.#line = null
    this.#set(NOTHING)
  }

  tell(slot: string, facts: GuestFacts): Promise<boolean> {
    return this.#answer((line) => line.tell(slot, facts))
  }

  show(slot: string, mrz: string): Promise<boolean> {
    return this.#answer((line) => line.show(slot, mrz))
  }

  sign(slot: string, signedAs: string): Promise<boolean> {
    return this.#answer((line) => line.sign(slot, signedAs))
  }

  accept(terms: Terms): Promise<boolean> {
    return this.#answer((line) => line.accept(terms))
  }

  /** The terms in the reader's language; null: there is no check-in on the screen. */
  async terms(language: string): Promise<Terms | Problem | null> {
    const answer = await this.#line?.terms(language)
    return answer === undefined ? null : answer.kind === 'terms' ? answer.terms : answer
  }

  /** Go to the payment provider's page: the one that is open, however often it is asked for. */
  async pay(): Promise<void> {
    const line = this.#line
    if (line === null || this.state.isBusy || this.state.isLeaving) return
    this.#set({ isBusy: true, problem: null, came: null })
    const answer = await line.page(this.#ports.language())
    if (line !== this.#line) return
    if (answer.kind !== 'page') return this.#set({ isBusy: false, problem: answer })
    if (answer.address === null) {
      this.#set({ isBusy: false })
      return this.look()
    }
    this.#set({ isBusy: false, isLeaving: true })
    this.#ports.go(answer.address)
  }

  /** The browser's way back brought the tab as it was. */
  returned(): void {
    if (!this.state.isLeaving) return
    this.#set({ isLeaving: false })
    void this.look()
  }

  help(reason: string): Promise<boolean> {
    return this.#answer((line) => line.help(reason))
  }

  /** Do a step over; null: no, go on. */
  redo(step: Step | null): void {
    this.#set({ again: step, problem: null })
  }

  /** Look how it stands, for what only the house can do. A line that is down meanwhile is not news. */
  async look(): Promise<void> {
    const line = this.#line
    if (line === null || this.state.isBusy || this.state.session === null) return
    if (this.state.came === 'done' && isPaying(this.state.session) && this.#providerLooks < PROVIDER_LOOKS_MOST) {
      this.#providerLooks += 1
      await line.lookAtPayment()
    }
    const answer = await line.read()
    if (line !== this.#line || this.state.isBusy || answer.kind !== 'session') return
    this.#set({ session: answer.session })
  }

  async #answer(ask: (line: SessionLine) => Promise<Answer>): Promise<boolean> {
    const line = this.#line
    if (line === null || this.state.isBusy) return false
    this.#set({ isBusy: true, problem: null, isAnew: false })
    let answer = await ask(line)
    let isAnew = false
    if (answer.kind === 'gone') {
      answer = await line.begin(this.#ports.language())
      isAnew = answer.kind === 'session'
    }
    if (line !== this.#line) return false
    if (answer.kind !== 'session') {
      this.#set({ isBusy: false, problem: answer })
      return false
    }
    this.#set({ isBusy: false, session: answer.session, again: null, isAnew })
    return !isAnew
  }

  #set(change: Partial<WalkState>): void {
    this.state = { ...this.state, ...change }
    for (const listener of this.#listeners) listener()
  }
}

/** A payment is under way, as far as the cloud has heard. */
export const isPaying = ({ payment }: Session): boolean => payment !== null && UNSETTLED.includes(payment.state)

/** The step on the screen: what the guest does over, else the next; null: there is only waiting. */
export function stepNow({ session, again }: WalkState): Step | null {
  return again ?? (session === null || session.isOver ? null : session.next)
}

/** Steps that staff is to look at, of which the guest may still correct his own part. */
export function staffSteps(session: Session): Step[] {
  return session.steps.filter(({ state }) => state === 'needs_staff')
}

export const canRedo = ({ step, state, reason }: Step): boolean => AGAIN_KINDS.includes(step) && state === 'needs_staff' && reason !== 'review' && reason !== 'offline'

/** Of the own stay's and the party's steps, how many are finished. */
export function progressOf(session: Session): { done: number; total: number } {
  return { done: session.steps.filter(({ state }) => state === 'done' || state === 'waived').length, total: session.steps.length }
}
