/**
 * The phone's side of the exchange (SPEC.md 4 and 7, figure 2): frames and time in, frames and answers out.
 *
 * Nothing here sleeps, reads a clock or touches a radio. WebCrypto answers later, so `receive` and `ask` do too: call them
 * one after the other.
 */
import { type DoorKeys, gateKey, gateTag, weekOf } from './advert'
import { type Bytes, concat, hex } from './bytes'
import { CredentialRefusedError, LinkLostError, LocalProtocolError, PeerProtocolError, ReplyTimeoutError } from './errors'
import { type FastKeys, fastKeys, type Resumption } from './fast'
import { Assembler, cut, FRAME_BYTES_LEAST } from './frames'
import {
  type CertificateForm,
  type Challenge,
  decodeChallenge,
  decodeResult,
  encodeCarry,
  encodeFetch,
  encodeLatch,
  encodeResume,
  encodeStatus,
  encodeUnlock,
  ERROR_BUSY,
  ERROR_NEED_FULL,
  KIND,
  latchStatement,
  QUALITY_UNCERTAIN,
  type Result,
  RESULT_BYTES,
  unlockStatement,
} from './messages'
import { type Ephemeral, shared } from './primitives'
import { type SessionKeys, sessionKeys, transcriptOf } from './session'

export const CHALLENGE_WAIT_MS = 3_000
export const ANSWER_WAIT_MS = 3_000

/** Open the door. `sign` is the phone key's ES256, 64 bytes r || s. With the lock's `resumption` it is asked by FAST first. */
export interface UnlockRequest {
  kind: 'unlock'
  grant: Bytes
  certificate: Bytes
  form: CertificateForm
  userVerified: boolean
  sign: (statement: Bytes) => Promise<Bytes>
  resumption?: Resumption
}

/** Hold a common door open for the window of a passage grant, or let it go. Never by FAST. */
export interface LatchRequest {
  kind: 'latch'
  hold: boolean
  grant: Bytes
  certificate: Bytes
  form: CertificateForm
  userVerified: boolean
  sign: (statement: Bytes) => Promise<Bytes>
}

/** What the phone may ask. `resume`, after an unlock that opened: let the next one be FAST. */
export type Request =
  | UnlockRequest
  | { kind: 'carry'; signed: Bytes; certificate: Bytes; form: CertificateForm }
  | { kind: 'fetch'; afterSeq: number }
  | { kind: 'status' }
  | { kind: 'resume' }
  | LatchRequest

/** The lock's authenticated answer; `sealed` is the audit chunk after a fetch, else empty. `fast`: it came by FAST. */
export interface Answer {
  result: Result
  sealed: Bytes
  fast: boolean
}

export type State = 'waiting' | 'asked_fast' | 'asked' | 'ready' | 'over'

export interface ExchangeOptions {
  ephemeral: Ephemeral
  nowMs: number
  /** The largest frame that the link takes. Left out: the largest that the lock has sent, which it made to fit the link. */
  frameBytes?: number
}

/**
 * One exchange, first byte to last. Make a new one for each connection; the first request goes with it. Whatever came of
 * it, keep `resumption` for the next visit to this lock and forget the one handed in: null means that there is none.
 */
export class PhoneExchange {
  state: State = 'waiting'
  challenge: Challenge | null = null
  resumption: Resumption | null
  /** Call `onTime` then, on the clock that `nowMs` came from. */
  deadlineMs: number | null
  readonly #door: DoorKeys
  readonly #ephemeral: Ephemeral
  readonly #frameBytes: number | null
  #frameBytesHeard = FRAME_BYTES_LEAST
  #request: Request
  #assembler = new Assembler()
  #outbox: Bytes[] = []
  #keys: SessionKeys | null = null
  #fast: FastKeys | null = null
  #said: Bytes = new Uint8Array(0)
  #working = false

  constructor(door: DoorKeys, first: Request, options: ExchangeOptions) {
    this.#door = door
    this.#request = first
    this.#ephemeral = options.ephemeral
    this.#frameBytes = options.frameBytes ?? null
    this.deadlineMs = options.nowMs + CHALLENGE_WAIT_MS
    this.resumption = (first.kind === 'unlock' ? first.resumption : null) ?? null
  }

  /**
   * Take one frame (one notification); the answer it completes, or null.
   *
   * Throws PeerProtocolError (not the lock we hold keys of, or not the protocol: drop the link), UnsupportedVersionError,
   * CredentialRefusedError (busy: wait; time_uncertain: our keys do not reach its week), and as `onTime`.
   */
  async receive(frame: Uint8Array, nowMs: number): Promise<Answer | null> {
    return this.#alone(async () => {
      this.onTime(nowMs)
      if (this.state === 'over') throw new PeerProtocolError('frame after the end')
      try {
        return await this.#take(frame, nowMs)
      } catch (error) {
        this.#end()
        throw error
      }
    })
  }

  /** Send another request on the same link, after the answer to the last. Throws LocalProtocolError. */
  async ask(request: Request, nowMs: number): Promise<void> {
    return this.#alone(async () => {
      if (this.state !== 'ready') throw new LocalProtocolError(`request while ${this.state}`)
      this.#request = request
      await this.#send(Uint8Array.of(KIND.MORE), nowMs)
    })
  }

  /** Learn the time; harmless to call early or twice. Throws LinkLostError (nothing was asked), ReplyTimeoutError (it was). */
  onTime(nowMs: number): void {
    if (this.deadlineMs === null || nowMs < this.deadlineMs) return
    const asked = this.state === 'asked' || this.state === 'asked_fast'
    this.#end()
    const lock = hex(this.#door.lockId)
    if (asked) throw new ReplyTimeoutError(`lock ${lock} did not answer within ${ANSWER_WAIT_MS} ms`)
    throw new LinkLostError(`lock ${lock} sent no challenge within ${CHALLENGE_WAIT_MS} ms`)
  }

  /** Drain the frames that the caller must send, one ATT write each. */
  dataToSend(): Bytes[] {
    const messages = this.#outbox
    this.#outbox = []
    const frameBytes = this.#frameBytes ?? this.#frameBytesHeard
    return messages.flatMap((message) => cut(message, frameBytes))
  }

  async #take(frame: Uint8Array, nowMs: number): Promise<Answer | null> {
    const message = this.#assembler.take(frame)
    this.#frameBytesHeard = Math.max(this.#frameBytesHeard, frame.length)
    if (message === null) return null
    if (message[0] === KIND.ERROR) {
      await this.#onError(message, nowMs)
      return null
    }
    if (this.state === 'waiting') {
      await this.#onChallenge(message, nowMs)
      return null
    }
    const fast = this.state === 'asked_fast'
    if (message[0] !== KIND.RESULT || !(fast || this.state === 'asked')) throw new PeerProtocolError(`message 0x${hex(message.subarray(0, 1))} while ${this.state}`)
    const plaintext = await this.#session().toPhone.open(message.slice(1), message.slice(0, 1))
    const result = decodeResult(plaintext)
    const sealed = plaintext.slice(RESULT_BYTES)
    if (sealed.length > 0 && this.#request.kind !== 'fetch') throw new PeerProtocolError(`${sealed.length} bytes after a RESULT that has none`)
    if (fast) this.resumption = this.#fast?.following ?? null
    else if (this.#request.kind === 'resume') this.resumption = result.status === 'done' ? this.#session().resumption : null
    this.state = 'ready'
    this.deadlineMs = null
    return { result, sealed, fast }
  }

  async #onChallenge(message: Bytes, nowMs: number): Promise<void> {
    const challenge = decodeChallenge(message)
    this.#said = message
    if (this.resumption === null) await this.#open(challenge, nowMs)
    else await this.#askFast(this.resumption, nowMs)
    this.challenge = challenge
  }

  async #askFast(secret: Resumption, nowMs: number): Promise<void> {
    const userVerified = this.#request.kind === 'unlock' && this.#request.userVerified
    this.#fast = await fastKeys(secret, this.#door.lockId, this.#door.sLock, this.#said, userVerified)
    this.#keys = this.#fast.session
    this.#outbox.push(this.#fast.message)
    this.state = 'asked_fast'
    this.deadlineMs = nowMs + ANSWER_WAIT_MS
  }

  /** A hint that anybody can give: at worst it costs a full exchange. */
  async #onError(message: Bytes, nowMs: number): Promise<void> {
    const error = spokenError(message)
    if (this.#fast === null || error instanceof CredentialRefusedError) throw error
    this.resumption = null
    if (this.state === 'asked_fast' && this.challenge !== null && message[1] === ERROR_NEED_FULL) return this.#open(this.challenge, nowMs)
    // A lock with firmware from before FAST, or a hint from nobody knows whom: FAST may have opened.
    throw new ReplyTimeoutError(`lock ${hex(this.#door.lockId)} answered FAST with an error`)
  }

  async #open(challenge: Challenge, nowMs: number): Promise<void> {
    const { lockId, sLock, fallback, eikByWeek } = this.#door
    const advertKey = challenge.timeQuality === QUALITY_UNCERTAIN ? fallback : eikByWeek.get(weekOf(challenge.timeS))
    if (advertKey === undefined) throw new CredentialRefusedError('time_uncertain')
    const { privateKey, point } = this.#ephemeral
    const [staticShared, ephemeralShared, transcript, gate] = await Promise.all([
      shared(privateKey, sLock),
      shared(privateKey, challenge.eLock),
      transcriptOf(lockId, sLock, this.#said, point),
      gateKey(advertKey, lockId, challenge.timeS),
    ])
    this.#keys = await sessionKeys(staticShared, ephemeralShared, transcript)
    await this.#send(concat(Uint8Array.of(KIND.OPEN), point, await gateTag(gate, challenge.nonce, point)), nowMs)
  }

  async #send(header: Bytes, nowMs: number): Promise<void> {
    const keys = this.#session()
    const sealed = await keys.toLock.seal(await this.#command(keys), header)
    this.#outbox.push(concat(header, sealed))
    this.state = 'asked'
    this.deadlineMs = nowMs + ANSWER_WAIT_MS
  }

  async #command(keys: SessionKeys): Promise<Bytes> {
    const request = this.#request
    switch (request.kind) {
      case 'unlock': {
        const statement = await unlockStatement(keys.transcript, keys.toLock.counter, request.grant, request.userVerified)
        return encodeUnlock(request.grant, request.certificate, request.form, request.userVerified, await request.sign(statement))
      }
      case 'carry':
        return encodeCarry(request.signed, request.certificate, request.form)
      case 'fetch':
        return encodeFetch(request.afterSeq)
      case 'status':
        return encodeStatus()
      case 'resume':
        return encodeResume()
      case 'latch': {
        const statement = await latchStatement(keys.transcript, keys.toLock.counter, request.grant, request.hold, request.userVerified)
        return encodeLatch(request.hold, request.grant, request.certificate, request.form, request.userVerified, await request.sign(statement))
      }
    }
  }

  #session(): SessionKeys {
    if (this.#keys === null) throw new LocalProtocolError('no session before CHAL')
    return this.#keys
  }

  #end(): void {
    this.state = 'over'
    this.deadlineMs = null
    this.#outbox = []
  }

  async #alone<T>(work: () => Promise<T>): Promise<T> {
    if (this.#working) throw new LocalProtocolError('the exchange is at work: wait for its last answer')
    this.#working = true
    try {
      return await work()
    } finally {
      this.#working = false
    }
  }
}

function spokenError(message: Bytes): PeerProtocolError | CredentialRefusedError {
  const code = message[1] ?? 0
  return code === ERROR_BUSY ? new CredentialRefusedError('busy') : new PeerProtocolError(`lock answered error ${code}`)
}
