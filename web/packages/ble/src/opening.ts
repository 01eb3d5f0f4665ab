/**
 * One tap on a door, from the choice of a lock to how it ended, after firmware_bridges/guest_phone/phone.py.
 *
 * What cannot have reached the lock is tried again here, a few times and within a deadline. So is what may have opened the
 * door, because to a lock that is the same use (protocols/door/SPEC.md 7); only where no try was answered is the guest
 * asked to try the handle. A lock that is busy is asked again soon: somebody else makes it pause, and the lot lets one in four through.
 *
 * A lock that has let this phone in is asked to know it the next time (RESUME): then a visit takes no public-key work (FAST,
 * SPEC.md 10). That happens after the guest has been told that the door is open, and whatever comes of it, the door stays open.
 */
import {
  type Answer,
  ANSWER_WAIT_MS,
  type Bundle,
  type BundleDoor,
  type Bytes,
  CredentialRefusedError,
  deriving,
  DoorError,
  type Ephemeral,
  hex,
  isRefusal,
  issuerKid,
  LinkLostError,
  newEphemeral,
  PeerProtocolError,
  PhoneExchange,
  QUALITY_UNCERTAIN,
  type RefusalReason,
  ReplyTimeoutError,
  type Request,
  type Result,
  type Status,
} from '@innkeeper/door'
import { type Errands, run } from './errands'
import { type DoorDevice, type DoorLink, type DoorRadio, NotChosenError, OtherDoorError, RadioOffError } from './port'

export const TRIES_MOST = 3
/** Beside those, at a lock that asks to wait; within OPEN_WAIT_MS as all. */
export const BUSY_TRIES_MOST = 16
const BUSY_PAUSE_MS = 250
/** All tries together; the time in which the guest looks through the list is not counted. */
export const OPEN_WAIT_MS = 12_000
export const CONNECT_WAIT_MS = 6_000
/** Before the second and the third try, where a link broke: a browser says at once that the lock is gone, until it hears it again. */
const PAUSES_MS = [250, 1_000] as const
/** A lock changes its address with its advert, each 512 s: one that was picked is found again only until then. */
const ADDRESS_LIFE_S = 512

/** Refusals that an own try whose answer was lost explains: they do not say that the door stayed shut. */
const OWN_DOING: readonly Status[] = ['used_up', 'busy']

/** Why nothing was opened, where the lock itself did not say so (then it is a RefusalReason). */
export type Trouble = 'bluetooth_off' | 'not_chosen' | 'out_of_reach' | 'link_lost' | 'no_answer' | 'not_the_lock' | 'other_door'

export type Phase = 'choosing' | 'connecting' | 'asking' | 'opening'

/** `failed`: the lock was never asked. `unknown`: it was asked, and its answer was lost. */
export type Ending = 'opened' | 'refused' | 'failed' | 'unknown'

/** What came of one tap. `detail` is for the log of whoever looks after this. */
export interface Opening {
  ending: Ending
  door: string
  tries: number
  cause: RefusalReason | Trouble | null
  detail: string
  result: Result | null
  /** Without public-key work, because the lock knew the phone. */
  fast: boolean
}

/** What is kept of the locks that one key has opened, by lock id in hexadecimal: secrets that stand for the key at one lock each. */
export interface Passes {
  get(lock: string): Promise<CryptoKey | null>
  /** null: forget it. A pass that cannot be kept costs a full exchange the next time, and nothing else: never throws for a store. */
  keep(lock: string, pass: CryptoKey | null): Promise<void>
}

export interface Clock {
  /** Monotonic milliseconds. */
  nowMs(): number
  /** Unix milliseconds. */
  wallMs(): number
  sleep(ms: number): Promise<void>
}

export interface OpenerOptions {
  radio: DoorRadio
  clock: Clock
  /** The phone key's ES256. */
  sign: (statement: Bytes) => Promise<Bytes>
  ephemeral?: () => Promise<Ephemeral>
}

interface Picked {
  device: DoorDevice
  slot: number
}

/** Opens doors with one phone key; remembers which locks know which certificate, and where a lock was just now. */
export class Opener {
  readonly #radio: DoorRadio
  readonly #clock: Clock
  readonly #sign: (statement: Bytes) => Promise<Bytes>
  readonly #ephemeral: () => Promise<Ephemeral>
  readonly #certificateKnown = new Set<string>()
  readonly #picked = new Map<string, Picked>()
  /** Locks that know no RESUME, or keep no pass for this key. */
  readonly #withoutFast = new Set<string>()
  #finishing: { link: DoorLink; done: Promise<void> } | null = null

  constructor(options: OpenerOptions) {
    this.#radio = options.radio
    this.#clock = options.clock
    this.#sign = options.sign
    this.#ephemeral = options.ephemeral ?? newEphemeral
  }

  /** Open `door`, as after a tap. Never throws for what the guest, the air or the lock does. Without `passes` always in full; `errands` are run once it is open. */
  async open(bundle: Bundle, door: BundleDoor, onPhase: (phase: Phase) => void = () => {}, passes: Passes | null = null, errands: Errands | null = null): Promise<Opening> {
    const ended = (ending: Ending, cause: Opening['cause'], detail = '', tries = 0, result: Result | null = null): Opening => ({ ending, door: door.door, tries, cause, detail, result, fast: false })
    let device: DoorDevice
    try {
      device = await this.#find(door, onPhase)
    } catch (error) {
      if (error instanceof NotChosenError) return ended('failed', 'not_chosen', error.message)
      if (error instanceof RadioOffError) return ended('failed', 'bluetooth_off', error.message)
      throw error
    }
    await this.leave()
    const beganMs = this.#clock.nowMs()
    let tries = 0
    let last: Opening = ended('failed', 'out_of_reach')
    let unanswered: ReplyTimeoutError | null = null
    let isLost = false
    let busy = 0
    const progress = { connected: false } // once in this tap is enough: the lock is awake and near, and what breaks is the link
    while (tries - busy < TRIES_MOST && busy < BUSY_TRIES_MOST && this.#clock.nowMs() - beganMs < OPEN_WAIT_MS) {
      tries += 1
      onPhase('connecting')
      if (isLost) await this.#clock.sleep(PAUSES_MS[tries - busy - 2]!)
      isLost = false
      try {
        const { result, fast } = await this.#try(device, bundle, door, onPhase, { passes, errands }, progress)
        if (result.status === 'opened') {
          this.#remember(bundle, door, device)
          return { ...ended('opened', null, '', tries, result), fast }
        }
        if (!isRefusal(result.status)) throw new PeerProtocolError(`the lock answered ${result.status} to UNLOCK`)
        last = ended('refused', result.status, '', tries, result)
        if (unanswered === null || !OWN_DOING.includes(result.status)) return last
      } catch (error) {
        this.#picked.delete(door.door)
        isLost = error instanceof LinkLostError || (error instanceof Error && error.cause instanceof LinkLostError)
        if (error instanceof ReplyTimeoutError) {
          unanswered = error
        } else if (error instanceof CredentialRefusedError) {
          last = ended('refused', error.reason, '', tries)
          if (error.reason === 'busy') {
            busy += 1 // a hint: the lock ran nothing
            await this.#clock.sleep(BUSY_PAUSE_MS)
          } else if (unanswered === null || !OWN_DOING.includes(error.reason)) return last
        } else if (error instanceof OtherDoorError || error instanceof PeerProtocolError) {
          last = ended('failed', error instanceof OtherDoorError ? 'other_door' : 'not_the_lock', error.message, tries)
          break
        } else if (error instanceof LinkLostError) {
          last = ended('failed', progress.connected ? 'link_lost' : 'out_of_reach', error.message, tries)
        } else {
          throw error
        }
      }
    }
    // Whatever the later tries met: an earlier one may have opened the door.
    return unanswered === null ? last : ended('unknown', 'no_answer', unanswered.message, tries)
  }

  /** Leave the lock that was opened last, if anything is still said to it; harmless to call at any time. */
  async leave(): Promise<void> {
    this.#finishing?.link.close()
    await this.#finishing?.done
  }

  async #find(door: BundleDoor, onPhase: (phase: Phase) => void): Promise<DoorDevice> {
    const before = this.#picked.get(door.door)
    if (before !== undefined && before.slot === this.#slot()) return before.device
    onPhase('choosing')
    return this.#radio.choose(door.keys, Math.floor(this.#clock.wallMs() / 1_000))
  }

  async #try(device: DoorDevice, bundle: Bundle, door: BundleDoor, onPhase: (phase: Phase) => void, { passes, errands }: { passes: Passes | null; errands: Errands | null }, progress: { connected: boolean }): Promise<Answer> {
    const lock = hex(door.keys.lockId)
    const pass = (await passes?.get(lock)) ?? null
    const link = await device.connect(CONNECT_WAIT_MS)
    progress.connected = true
    let isFinished = true
    try {
      onPhase('asking')
      const whole = !this.#certificateKnown.has(certificateAt(bundle, door))
      const first = { ...this.#unlock(bundle, whole), ...(pass === null ? {} : { resumption: pass }) }
      const exchange = new PhoneExchange(door.keys, first, { ephemeral: await this.#ephemeral(), nowMs: this.#clock.nowMs() })
      let answer: Answer
      try {
        answer = await this.#talk(link, exchange, onPhase)
        if (answer.result.status === 'need_certificate') {
          this.#certificateKnown.delete(certificateAt(bundle, door)) // a pause may hold up MORE: then the next try brings it
          await exchange.ask(this.#unlock(bundle, true), this.#clock.nowMs())
          answer = await this.#talk(link, exchange, onPhase)
        }
      } finally {
        if (exchange.resumption !== pass) await this.#keep(passes, lock, exchange)
      }
      const resumes = passes !== null && !answer.fast && !this.#withoutFast.has(keyAt(bundle, door))
      if (answer.result.status === 'opened' && (resumes || errands !== null)) {
        isFinished = false
        const resume = resumes ? () => this.#resume(link, exchange, keyAt(bundle, door), () => this.#keep(passes, lock, exchange)) : null
        this.#finishing = { link, done: this.#finish(link, resume, () => (errands === null ? Promise.resolve() : run(errands, lock, (request) => this.#ask(link, exchange, request)))) }
      }
      return answer
    } finally {
      if (isFinished) link.close()
    }
  }

  /** The door is open, and the guest has been told: what else there is to say to the lock. */
  async #finish(link: DoorLink, resume: (() => Promise<void>) | null, errand: () => Promise<void>): Promise<void> {
    try {
      await resume?.()
      await errand()
    } catch (error) {
      if (!(error instanceof DoorError)) throw error // the air, or a lock that says what it should not: no pass
    } finally {
      link.close()
      this.#finishing = null
    }
  }

  /** Ask the lock to know this phone the next time. */
  async #resume(link: DoorLink, exchange: PhoneExchange, key: string, keep: () => Promise<void>): Promise<void> {
    const { result } = await this.#ask(link, exchange, { kind: 'resume' })
    // A lock that has lost its clock keeps no pass now, and will once it is set.
    if (result.status !== 'done' && result.timeQuality !== QUALITY_UNCERTAIN) this.#withoutFast.add(key)
    await keep()
  }

  async #ask(link: DoorLink, exchange: PhoneExchange, request: Request): Promise<Answer> {
    await exchange.ask(request, this.#clock.nowMs())
    return this.#talk(link, exchange, () => {})
  }

  async #keep(passes: Passes | null, lock: string, { resumption }: PhoneExchange): Promise<void> {
    await passes?.keep(lock, resumption instanceof Uint8Array ? await deriving(resumption) : resumption)
  }

  /** Send and hear until the lock's answer is whole. */
  async #talk(link: DoorLink, exchange: PhoneExchange, onPhase: (phase: Phase) => void): Promise<Answer> {
    for (;;) {
      const frames = exchange.dataToSend()
      for (const [at, frame] of frames.entries()) {
        // A message of which the last frame cannot have left is not a message: the lock never had it.
        await link.write(frame).catch((error: unknown) => { throw at === frames.length - 1 ? asUnknown(error) : error })
      }
      if (frames.length > 0) onPhase('opening')
      const waitMs = exchange.deadlineMs === null ? ANSWER_WAIT_MS : Math.max(exchange.deadlineMs - this.#clock.nowMs(), 0)
      const frame = await link.read(waitMs).catch((error: unknown) => { throw exchange.state === 'asked' ? asUnknown(error) : error })
      if (frame === null) {
        exchange.onTime(Math.max(this.#clock.nowMs(), exchange.deadlineMs ?? 0))
        continue
      }
      const answer = await exchange.receive(frame, this.#clock.nowMs())
      if (answer !== null) return answer
    }
  }

  #unlock(bundle: Bundle, whole: boolean): Request {
    const certificate = whole ? bundle.certificate : issuerKid(bundle.grant)
    return { kind: 'unlock', grant: bundle.grant, certificate, form: whole ? 'whole' : 'id', userVerified: false, sign: this.#sign }
  }

  #remember(bundle: Bundle, door: BundleDoor, device: DoorDevice): void {
    this.#certificateKnown.add(certificateAt(bundle, door))
    this.#picked.set(door.door, { device, slot: this.#slot() })
  }

  #slot(): number {
    return Math.floor(this.#clock.wallMs() / 1_000 / ADDRESS_LIFE_S)
  }
}

const keyAt = (bundle: Bundle, door: BundleDoor): string => `${hex(door.keys.lockId)} ${hex(bundle.grant)}`
const certificateAt = (bundle: Bundle, door: BundleDoor): string => `${hex(door.keys.lockId)} ${hex(issuerKid(bundle.grant))}`

function asUnknown(error: unknown): unknown {
  return error instanceof LinkLostError ? new ReplyTimeoutError(error.message, { cause: error }) : error
}
