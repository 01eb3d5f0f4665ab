/**
 * The page without its looks: what it holds, what it is doing, what came of it. Ports are handed in; views subscribe.
 */
import { type Availability, type Clock, Opener, type Opening, type Phase, type WebRadio } from '@innkeeper/ble'
import { type BundleDoor, type Bytes, hex, isRefusal, openRequest, pointOf, REMOTE_OPEN_ID_BYTES, signEs256, type VendorKey } from '@innkeeper/door'
import type { Arrival, CheckInInvitation } from './arrival'
import { Carrier } from './carrier'
import { checkIn, type CheckedIn, type Fetch } from './checkIn'
import { idOf, isAlone, isUnderWay, longOver, type OtherKeys, othersOf, withOthers } from './others'
import { Renewals, stayEnds } from './keyTerm'
import { arrived, endsMs, FINAL_REASONS, heldOf, type Holding, HOLDINGS_MOST, longEnded, withNewest } from './holdings'
import type { Keyring } from './keyring'
import { stayKeys, type Told } from './keys/stayKeys'
import { type LateAct, lateCheckOut, type LateTold } from './late/lateCheckOut'
import { askToOpen, type RemoteSaid } from './remoteOpening'
import type { ArrivalTrouble, CheckInTrouble } from './words'

export const LOW_BATTERY_PERCENT = 15
/** Troubles after which the same question may still be answered. */
const UNANSWERED: readonly CheckInTrouble[] = ['offline', 'unanswered', 'edge_away']

export type Taking =
  | { kind: 'idle' }
  | { kind: 'taking' }
  | { kind: 'taken' }
  | { kind: 'failed'; trouble: ArrivalTrouble }
  | { kind: 'refused'; trouble: CheckInTrouble; fromMs: number | null; invitation: CheckInInvitation }

export interface GuestState {
  /** The phone's public key, 66 hexadecimal digits: what the desk makes a key for. */
  phoneCode: string
  holdings: readonly Holding[]
  /** What the guest has at doors with locks of other makers. */
  others: readonly OtherKeys[]
  /** The hotel is being asked how those stand. */
  isLookingAgain: boolean
  radio: Availability | 'asking'
  doing: { at: string; phase: Phase } | null
  /** What came of the last tap on each door, by `placeOf`. */
  openings: ReadonlyMap<string, Opening>
  /** The door of another maker that the hotel is being asked to open; null: none. */
  remote: string | null
  /** What came of the last such asking, by door, and when. */
  remotes: ReadonlyMap<string, { said: RemoteSaid; atMs: number }>
  taking: Taking
  nowMs: number
}

export interface Ports {
  keyring: Keyring
  radio: Pick<WebRadio, 'availability' | 'onAvailability' | 'choose'>
  clock: Clock
  fetch: Fetch
  /** False only where there certainly is no line. */
  isOnLine: () => boolean
  /** Where the cloud is served. */
  root: URL
}

/** A door of a holding, in one word. */
export const placeOf = (holding: Holding, door: BundleDoor): string => `${holding.id}/${door.door}`

export class Guest {
  state: GuestState
  readonly #ports: Ports
  readonly #listeners = new Set<() => void>()
  #key: CryptoKeyPair
  #point: Bytes
  #opener: Opener
  readonly #carrier: Carrier
  readonly #renewals = new Renewals()
  #isRenewing = false
  /** The question that is open at the hotel, by stay: answered, the next is another. */
  readonly #questions = new Map<string, string>()

  private constructor(ports: Ports, key: CryptoKeyPair, point: Bytes, holdings: Holding[], others: OtherKeys[]) {
    this.#ports = ports
    this.#key = key
    this.#point = point
    this.#opener = this.#openerWith(key)
    this.#carrier = new Carrier(ports.keyring.carriage, ports.fetch, ports.root, () => ports.clock.wallMs())
    this.state = { phoneCode: hex(point), holdings, others, isLookingAgain: false, radio: 'asking', doing: null, openings: new Map(), remote: null, remotes: new Map(), taking: { kind: 'idle' }, nowMs: ports.clock.wallMs() }
    ports.radio.onAvailability(() => void this.look())
  }

  /** Read the keyring, drop what ended long ago. Rejects where the browser keeps nothing. */
  static async start(ports: Ports): Promise<Guest> {
    const key = await ports.keyring.phoneKey()
    const kept = await ports.keyring.bundles()
    const held = await heldOf(kept)
    const gone = [...longEnded(held, ports.clock.wallMs()), ...longOver(kept, ports.clock.wallMs())]
    await ports.keyring.drop(gone)
    const others = kept.filter(({ id }) => !gone.includes(id)).map(othersOf).filter((each) => each !== null)
    return new Guest(ports, key, await pointOf(key.publicKey), held.filter(({ id }) => !gone.includes(id)), others)
  }

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Look at the clock and at Bluetooth; call it now and then, and when the page comes back to the front. */
  look = async (): Promise<void> => {
    this.#set({ nowMs: this.#ports.clock.wallMs() })
    this.#set({ radio: await this.#ports.radio.availability() })
    await this.#carrier.turn(this.state.holdings)
    for (const others of this.state.others) if (others.keys.some(isUnderWay)) await this.lookAgain(others)
  }

  /** Ask the hotel how keys of other makers stand now; a line that is down meanwhile is not news. */
  async lookAgain(others: OtherKeys): Promise<void> {
    const { from } = others
    if (from === null || this.state.isLookingAgain) return
    this.#set({ isLookingAgain: true })
    try {
      const answer = await this.#ask(from)
      if (answer.kind === 'bundle') await this.#takeBundle(answer.document, from, 'quietly')
    } finally {
      this.#set({ isLookingAgain: false })
    }
  }

  /** Ask for longer keys where the stay is longer than they are; call it every few seconds while the page is seen. */
  async renew(): Promise<void> {
    if (this.#isRenewing) return
    this.#isRenewing = true
    try {
      const links = [...this.state.holdings, ...this.state.others].map(({ from }) => from).filter((from) => from !== null)
      for (const from of new Map(links.map((each) => [each.token, each])).values()) if (this.#renewals.isOpen(from)) await this.#renewStay(from)
    } finally {
      this.#isRenewing = false
    }
  }

  async #renewStay(from: CheckInInvitation): Promise<void> {
    const ends = await stayEnds(from, this.#ports.root, this.#ports.fetch)
    if (ends === 'gone') return this.#renewals.end(from)
    const now = this.#ports.clock.wallMs()
    const heldMs = this.#heldUntil(from)
    if (ends === null || heldMs === null || !this.#renewals.isDue(from.stay, heldMs, ends, now)) return
    const answer = await this.#ask(from)
    if (answer.kind === 'bundle') await this.#takeBundle(answer.document, from, 'quietly')
    this.#renewals.asked(from.stay, ends, now, answer.kind === 'bundle' ? 'key' : UNANSWERED.includes(answer.trouble) ? 'unanswered' : 'refused', this.#heldUntil(from) ?? heldMs)
  }

  /** Until when all that a link brought opens, where asking again may bring more: not a card, which is written at the desk. Null: it brought none. */
  #heldUntil({ token }: CheckInInvitation): number | null {
    const of = ({ from }: { from: CheckInInvitation | null }): boolean => from?.token === token
    const grants = this.state.holdings.filter(of).map(endsMs)
    const made = this.state.others.filter(of).flatMap(({ keys }) => keys.filter(({ state, medium }) => state === 'made' && medium !== 'card'))
    const ends = [...(grants.length === 0 ? [] : [Math.max(...grants)]), ...made.map(({ notAfterMs }) => notAfterMs)]
    return ends.length === 0 ? null : Math.min(...ends)
  }

  /** Open a door, as after a tap; must be called within one. */
  async open(holding: Holding, door: BundleDoor): Promise<Opening | null> {
    if (this.state.doing !== null) return null
    const at = placeOf(holding, door)
    this.#set({ doing: { at, phase: 'connecting' }, openings: without(this.state.openings, at), taking: { kind: 'idle' } })
    try {
      const opening = await this.#opener.open(holding.bundle, door, (phase) => this.#set({ doing: { at, phase } }), this.#ports.keyring.passesOf(holding.id), this.#carrier.errandsOf(holding))
      this.#set({ openings: new Map([...this.state.openings, [at, opening]]) })
      await this.#learn(holding, door, opening)
      return opening
    } finally {
      this.#set({ doing: null, nowMs: this.#ports.clock.wallMs() })
      void this.look()
    }
  }

  /**
   * Ask the hotel to open a door of another maker, once; only for an act of its holder. The time signed is this phone's own: one that a
   * server told could be one of tomorrow. Null: another is being asked, or this key opens nothing from afar.
   */
  async openFromAfar({ from }: OtherKeys, { opens }: VendorKey, door: string): Promise<RemoteSaid | null> {
    if (this.state.remote !== null || from === null || opens === null) return null
    this.#set({ remote: door, remotes: without(this.state.remotes, door) })
    let said: RemoteSaid = 'strange'
    try {
      if (!this.#ports.isOnLine()) return (said = 'phone_off_line')
      const id = crypto.getRandomValues(new Uint8Array(REMOTE_OPEN_ID_BYTES))
      const { property, grant } = opens
      const request = await openRequest(this.#key.privateKey, { id, issuedAtMs: this.#ports.clock.wallMs(), property, grant, door })
      return (said = await askToOpen(from, request, this.#ports.root, this.#ports.fetch))
    } finally {
      const atMs = this.#ports.clock.wallMs()
      this.#set({ remote: null, remotes: new Map([...this.state.remotes, [door, { said, atMs }]]), nowMs: atMs })
    }
  }

  /** Take over what a link or a guest's paste brought. */
  async take(arrival: Arrival): Promise<void> {
    this.#set({ taking: { kind: 'taking' } })
    if (arrival.kind === 'payment') return
    if (arrival.kind === 'nonsense') return this.#set({ taking: { kind: 'failed', trouble: 'nonsense' } })
    if (arrival.kind === 'bundle') return this.#takeBundle(arrival.document)
    const { invitation } = arrival
    const answer = await this.#ask(invitation)
    if (answer.kind === 'bundle') return this.#takeBundle(answer.document, invitation)
    this.#set({ taking: { kind: 'refused', trouble: answer.trouble, fromMs: answer.fromMs, invitation } })
  }

  /** Take a key from the house itself, by a code of its kiosk: the house is what `root` is here. The link that the stay's keys came by stays theirs. */
  async takeFromHouse(invitation: CheckInInvitation): Promise<void> {
    this.#set({ taking: { kind: 'taking' } })
    const answer = await this.#ask(invitation)
    const link = [...this.state.holdings, ...this.state.others].map(({ from }) => from).find((from) => from?.stay === invitation.stay)
    if (answer.kind === 'bundle') return this.#takeBundle(answer.document, link ?? null)
    this.#set({ taking: { kind: 'refused', trouble: answer.trouble, fromMs: answer.fromMs, invitation } })
  }

  /** Ask who has keys of the stay that a link is for; with `takeBack` take that one back first. Keeps nothing. */
  async stayKeys(from: CheckInInvitation, takeBack: string | null = null): Promise<Told> {
    return stayKeys(from, this.#ports.root, this.#ports.fetch, takeBack)
  }

  /** Look at, ask for or take back a late check-out of the stay that a link is for. Keeps nothing. */
  async lateCheckOut(from: CheckInInvitation, act: LateAct): Promise<LateTold> {
    return lateCheckOut(from, this.#ports.root, this.#ports.fetch, act)
  }

  /** Forget every key, and the phone's own: the next one is another phone to every hotel. */
  async forget(): Promise<void> {
    await this.#opener.leave()
    await this.#ports.keyring.clear()
    const key = await this.#ports.keyring.phoneKey()
    this.#key = key
    this.#point = await pointOf(key.publicKey)
    this.#opener = this.#openerWith(key)
    this.#set({ phoneCode: hex(this.#point), holdings: [], others: [], openings: new Map(), remotes: new Map(), taking: { kind: 'idle' } })
  }

  /** The house answers one question once: a new one is asked as soon as the last has an answer, whatever that was. */
  async #ask(invitation: CheckInInvitation): Promise<CheckedIn> {
    const place = `${invitation.property}/${invitation.stay}`
    const question = this.#questions.get(place) ?? crypto.randomUUID()
    this.#questions.set(place, question)
    const answer = await checkIn(invitation, this.state.phoneCode, this.#ports.root, this.#ports.fetch, question)
    if (answer.kind === 'bundle' || !UNANSWERED.includes(answer.trouble)) this.#questions.delete(place)
    return answer
  }

  async #takeAlone(document: unknown, from: CheckInInvitation | null, taking: Taking): Promise<void> {
    const { stay } = document as { stay: string }
    const kept = { id: idOf(stay), document, said: {}, from }
    await this.#ports.keyring.keep(kept)
    const gone = this.state.holdings.filter(({ bundle }) => bundle.stay === stay).map(({ id }) => id) // it has moved out of them
    await this.#ports.keyring.drop(gone)
    this.#set({
      holdings: this.state.holdings.filter(({ id }) => !gone.includes(id)),
      others: withOthers(this.state.others, stay, othersOf(kept)),
      taking,
      nowMs: this.#ports.clock.wallMs(),
    })
  }

  async #takeBundle(document: unknown, from: CheckInInvitation | null = null, manner: 'said' | 'quietly' = 'said'): Promise<void> {
    const taking: Taking = manner === 'said' ? { kind: 'taken' } : this.state.taking
    if (isAlone(document)) return this.#takeAlone(document, from, taking)
    const newest = await arrived(document, this.#point, from)
    if (typeof newest === 'string') return this.#set({ taking: { kind: 'failed', trouble: newest } })
    const { holdings, replaced } = withNewest(this.state.holdings, newest)
    if (holdings.length > HOLDINGS_MOST) return this.#set({ taking: { kind: 'failed', trouble: 'too_many' } })
    const said = manner === 'said' ? {} : (this.state.holdings.find(({ id }) => id === newest.id)?.said ?? {})
    const kept = { id: newest.id, document, said, from }
    await this.#ports.keyring.keep(kept)
    const others = withOthers(this.state.others, newest.bundle.stay, othersOf(kept))
    await this.#ports.keyring.drop([...replaced, idOf(newest.bundle.stay)])
    this.#set({ holdings, others, taking, nowMs: this.#ports.clock.wallMs() })
  }

  /** Keep what a door said for good, forget it when the door opens. */
  async #learn(holding: Holding, door: BundleDoor, opening: Opening): Promise<void> {
    const { [door.door]: before, ...said } = holding.said
    const status = opening.result?.status // authenticated, unlike an ERROR in the clear
    const isFinal = status !== undefined && isRefusal(status) && FINAL_REASONS.includes(status)
    if (isFinal) said[door.door] = { reason: status, atMs: this.#ports.clock.wallMs() }
    if (!isFinal && (before === undefined || opening.ending !== 'opened')) return
    const learned = { ...holding, said }
    await this.#ports.keyring.keep({ id: learned.id, document: learned.document, said, from: learned.from })
    this.#set({ holdings: this.state.holdings.map((held) => (held.id === learned.id ? learned : held)) })
  }

  #openerWith({ privateKey }: CryptoKeyPair): Opener {
    const { radio, clock } = this.#ports
    return new Opener({ radio, clock, sign: (statement) => signEs256(privateKey, statement) })
  }

  #set(change: Partial<GuestState>): void {
    this.state = { ...this.state, ...change }
    for (const listener of this.#listeners) listener()
  }
}

function without<K, V>(map: ReadonlyMap<K, V>, key: K): ReadonlyMap<K, V> {
  return new Map([...map].filter(([each]) => each !== key))
}
