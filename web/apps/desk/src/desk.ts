/**
 * What the desk's page knows, and what it asks for: one clerk's hours at one house. No DOM, no clock of its own.
 *
 * The token is the desk's, which opens what this page does. It is in no address; it is kept by this tab alone, and no longer than that.
 */
import { type About, aboutOf, ask, type Code, codeOf, type Fetch, keysOf, type Link, linkOf, type PhoneKey, type Said, type Stays, staysOf } from './house'

export const LOOK_EACH_MS = 10_000
/** Nobody has touched the page for so long: guests' names leave the screen. */
export const IDLE_MS = 20 * 60_000
/** How often a touch is written down for the tab's next life. */
const KEEP_EACH_MS = 5_000
const TOKEN = /^[A-Za-z0-9_-]{32,512}$/u
const PMS = 'pms'

/** `wrong`: not the house's token; `name`: nobody's name here; `ended`: the house takes it no more. */
export type Trouble = 'wrong' | 'name' | 'away' | 'ended' | 'idle'

export interface DeskState {
  /** Who is at the desk, as the records say it; null: nobody has signed in. */
  by: string | null
  isSigningIn: boolean
  trouble: Trouble | null
  about: About | null
  stays: Stays | null
  link: Link | null
  /** The house has not answered the last time; what is shown is older. */
  isAway: boolean
}

/** What came of an act; of what may have happened, nobody says that it did not. */
export type Outcome<T> = { kind: 'done'; told: T } | { kind: 'refused'; reason: string; detail: string } | { kind: 'unknown' }

interface Session {
  token: string
  by: string
}

interface Kept {
  session: Session
  /** By this machine's wall, which goes on while the tab is not there. */
  touchedWallMs: number
}

export interface Memory {
  get: () => string | null
  set: (said: string) => void
  clear: () => void
}

export interface DeskParts {
  fetch: Fetch
  /** Where the house answers. */
  root: URL
  memory: Memory
  /** Time as it passes, the machine's sleep with it (passing.ts). */
  nowMs: () => number
  wallMs: () => number
}

const NOBODY: DeskState = { by: null, isSigningIn: false, trouble: null, about: null, stays: null, link: null, isAway: false }

export class Desk {
  state: DeskState = NOBODY
  private session: Session | null
  private readonly listeners = new Set<() => void>()
  private looking = false
  private isWantedAgain = false
  /** When the house was asked for what is shown, by our own clock: an answer that took its time is as old as that. */
  private toldMs = 0
  private touchedMs = 0
  private keptMs = 0

  private readonly parts: DeskParts

  constructor(parts: DeskParts) {
    this.parts = parts
    this.session = null
    const kept = keptOf(parts.memory.get())
    if (kept === null) return
    const untouchedMs = Math.abs(parts.wallMs() - kept.touchedWallMs) // a wall that was set back says as little
    if (untouchedMs >= IDLE_MS) {
      this.signOut('idle')
      return
    }
    this.session = kept.session
    this.touchedMs = parts.nowMs() - untouchedMs
    this.keptMs = this.touchedMs
    this.state = { ...NOBODY, by: kept.session.by }
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  /** The house's own clock; null: it has not said. */
  houseMs(): number | null {
    const { about } = this.state
    return about === null ? null : about.atMs + this.parts.nowMs() - this.toldMs
  }

  /** How old what is shown is; null: nothing is. */
  ageMs(): number | null {
    return this.state.about === null ? null : this.parts.nowMs() - this.toldMs
  }

  async signIn(token: string, by: string): Promise<void> {
    if (this.state.isSigningIn) return
    const session = { token: token.trim(), by: nameOf(by) }
    if (session.by === '' || session.by === PMS) return this.show({ ...NOBODY, trouble: 'name' })
    if (!TOKEN.test(session.token)) return this.show({ ...NOBODY, trouble: 'wrong' })
    this.show({ ...NOBODY, isSigningIn: true })
    const askedMs = this.parts.nowMs()
    const said = await ask(this.parts.fetch, this.at('desk'), session.token)
    const about = said.kind === 'done' ? aboutOf(said.body) : null
    if (about === null) return this.show({ ...NOBODY, trouble: said.kind === 'refused' && said.status === 401 ? 'wrong' : 'away' })
    this.session = session
    this.touchedMs = this.parts.nowMs()
    this.keep(session)
    this.toldMs = askedMs
    this.show({ ...NOBODY, by: session.by, about })
    await this.look()
  }

  signOut(trouble: Trouble | null = null): void {
    this.session = null
    this.parts.memory.clear()
    this.show({ ...NOBODY, trouble })
  }

  /** Somebody is there; but a touch that comes too late brings nobody back. */
  touch(): void {
    const { session } = this
    if (session === null || this.isOver()) return
    this.touchedMs = this.parts.nowMs()
    if (this.touchedMs - this.keptMs >= KEEP_EACH_MS) this.keep(session)
  }

  /** Whether nobody has signed in, or touched the page for so long that he is signed out now. Timers sleep, so whatever wakes asks first. */
  isOver(): boolean {
    if (this.session !== null && this.parts.nowMs() - this.touchedMs >= IDLE_MS) this.signOut('idle')
    return this.session === null
  }

  /** Read all that is shown anew; asked while it reads, it reads once more. */
  async look(): Promise<void> {
    if (this.isOver()) return
    this.isWantedAgain = true
    if (this.looking) return
    this.looking = true
    try {
      while (this.isWantedAgain && this.session !== null) {
        this.isWantedAgain = false
        await this.lookOnce(this.session)
      }
    } finally {
      this.looking = false
    }
  }

  async code(stay: string): Promise<Outcome<Code>> {
    const made = outcome(await this.act(`stays/${encodeURIComponent(stay)}/phone-code`, {}), codeOf)
    if (made.kind !== 'done') return made
    return made.told === null ? { kind: 'unknown' } : { kind: 'done', told: made.told }
  }

  /** Whether a code is good for a phone still: another desk's of the same stay takes its place. null: the house does not say now. */
  async codeWaits({ stay, untilMs }: Code): Promise<boolean | null> {
    const { session } = this
    if (session === null) return null
    const said = await ask(this.parts.fetch, this.at(`stays/${encodeURIComponent(stay)}/phone-code`), session.token)
    if (said.kind !== 'done' || typeof said.body['waits'] !== 'boolean') return null
    const other = said.body['until_ms'] // an older house does not say which code it is that waits
    return said.body['waits'] && (typeof other !== 'number' || other === untilMs)
  }

  async endAt(stay: string, untilMs: number): Promise<Outcome<null>> {
    return outcome(await this.act(`stays/${encodeURIComponent(stay)}/end`, { until_ms: untilMs }), () => null)
  }

  /** True: the doors know it. False: they are told as soon as they answer. */
  async checkOut(stay: string): Promise<Outcome<boolean>> {
    return outcome(await this.act(`stays/${encodeURIComponent(stay)}/check-out`, {}), ({ doors_told: told }) => told === true)
  }

  async takeBack(stay: string, phone: string, reason: string): Promise<Outcome<null>> {
    return outcome(await this.act(`stays/${encodeURIComponent(stay)}/withdrawn-keys`, { phone_public_key: phone, reason }), () => null)
  }

  /** The phones that have keys of a stay; null: the doors do not say now. */
  async keys(stay: string): Promise<readonly PhoneKey[] | null> {
    const { session } = this
    if (session === null) return null
    const said = await ask(this.parts.fetch, this.at(`stays/${encodeURIComponent(stay)}/keys`), session.token)
    return said.kind === 'done' ? keysOf(said.body) : null
  }

  private async act(path: string, body: object): Promise<Said> {
    const { session } = this
    if (session === null) return { kind: 'refused', status: 401, reason: 'unauthorized', detail: '' }
    const said = await ask(this.parts.fetch, this.at(path), session.token, { ...body, by: session.by })
    if (this.session !== session) return said
    if (said.kind === 'refused' && said.status === 401) this.signOut('ended')
    else void this.look()
    return said
  }

  private async lookOnce(session: Session): Promise<void> {
    const askedMs = this.parts.nowMs()
    const [about, link, stays] = await Promise.all(['desk', 'link', 'stays'].map((what) => ask(this.parts.fetch, this.at(what), session.token)))
    if (this.session !== session) return // somebody else, or nobody, is here now
    if ([about, link, stays].some((said) => said?.kind === 'refused' && said.status === 401)) return this.signOut('ended')
    const told = about?.kind === 'done' ? aboutOf(about.body) : null
    const listed = stays?.kind === 'done' ? staysOf(stays.body) : null
    if (told === null || listed === null) return this.show({ ...this.state, isAway: true })
    this.toldMs = askedMs
    const before = this.state.stays?.stays
    const isSame = before !== undefined && JSON.stringify(before) === JSON.stringify(listed.stays) // a long list is not drawn anew for nothing
    this.show({ ...this.state, about: told, stays: isSame ? { ...listed, stays: before } : listed, link: link?.kind === 'done' ? linkOf(link.body) : null, isAway: false })
  }

  private keep({ token, by }: Session): void {
    this.keptMs = this.touchedMs
    this.parts.memory.set(JSON.stringify({ token, by, touched_ms: this.parts.wallMs() }))
  }

  private at(path: string): URL {
    return new URL(`api/v1/${path}`, this.parts.root)
  }

  private show(state: DeskState): void {
    this.state = state
    for (const listener of this.listeners) listener()
  }
}

function outcome<T>(said: Said, read: (body: Record<string, unknown>) => T): Outcome<T> {
  if (said.kind === 'done') return { kind: 'done', told: read(said.body) }
  return said.kind === 'refused' ? { kind: 'refused', reason: said.reason, detail: said.detail } : { kind: 'unknown' }
}

/** A name as records take it: spaces are plain ones, and what cannot be seen is not of it. */
const nameOf = (written: string): string => written.replace(/[\p{Z}\s]+/gu, ' ').replace(/\p{C}/gu, '').trim()

function keptOf(kept: string | null): Kept | null {
  if (kept === null) return null
  try {
    const said: unknown = JSON.parse(kept)
    if (typeof said !== 'object' || said === null || !('token' in said) || !('by' in said) || !('touched_ms' in said)) return null
    const { token, by, touched_ms: touchedWallMs } = said
    return typeof token === 'string' && typeof by === 'string' && typeof touchedWallMs === 'number' ? { session: { token, by }, touchedWallMs } : null
  } catch (error) {
    if (error instanceof SyntaxError) return null
    throw error
  }
}
