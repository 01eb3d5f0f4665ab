/** A house that answers as edge/api does, as far as it is told to; everything that was asked of it is kept. */
import { Desk } from '../src/desk'

export const TOKEN = 'h'.repeat(64)
export const ROOT = new URL('https://edge.invalid/')
export const T0 = 1_767_225_600_000

export const ABOUT = { as_of_ms: T0, property: 'aurora', name: 'Hotel Aurora', zone: 'Europe/Vienna', cloud: 'https://cloud.invalid', codes: true }
export const LINK = { configured: true, connected: false, last_ack_age_ms: 60_000, backlog: { A: 3, B: 1, C: 0 } }
export const ANNA = {
  id: 's-anna', room: '101', state: 'in_house', guest_name: 'Anna Berger', expected_from_ms: T0 - 3_600_000, expected_until_ms: T0 + 86_400_000,
  reservation: 'N-1', version: 1, decided_by: null, until_by: null,
}
export const STAYS = { version: 1, as_of_ms: T0 - 60_000, stays: [ANNA], held_against_document: [] }

type Answer = Response | Error

export class Stage {
  readonly asked: { method: string; path: string; body: unknown; headers: Record<string, string>; init: RequestInit }[] = []
  readonly answers = new Map<string, () => Answer | Promise<Answer>>()
  kept: string | null = null
  nowMs = 0
  wallMs = T0

  constructor() {
    this.says('desk', ABOUT)
    this.says('link', LINK)
    this.says('stays', STAYS)
  }

  says(what: string, body: object, status = 200): void {
    this.answers.set(what, () => Response.json(body, { status }))
  }

  readonly fetch = async (address: URL, init: RequestInit): Promise<Response> => {
    const path = `${address.pathname.replace('/api/v1/', '')}${address.search}${address.hash}`
    this.asked.push({ method: init.method ?? '', path, body: typeof init.body === 'string' ? JSON.parse(init.body) : null, headers: init.headers as Record<string, string>, init })
    const answer = await (this.answers.get(path) ?? (() => Response.json({ type: 'about:blank' }, { status: 404 })))()
    if (answer instanceof Error) throw answer
    return answer
  }

  desk(): Desk {
    const memory = { get: () => this.kept, set: (said: string) => { this.kept = said }, clear: () => { this.kept = null } }
    return new Desk({ fetch: this.fetch, root: ROOT, memory, nowMs: () => this.nowMs, wallMs: () => this.wallMs })
  }

  /** Time passes for this machine, awake or not. */
  pass(ms: number): void {
    this.nowMs += ms
    this.wallMs += ms
  }

  async signedIn(): Promise<Desk> {
    const desk = this.desk()
    await desk.signIn(TOKEN, 'Frau Maier')
    return desk
  }
}
