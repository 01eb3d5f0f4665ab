/** Asks the cloud over HTTP. Addresses are relative to the page, so the console may live under any path. */
import type { AccessEventPage, Problem, Property } from './types'

export type FailureKind = 'signed_out' | 'forbidden' | 'not_found' | 'unreachable' | 'refused'

/** A question that got no good answer; `kind` says what the reader can do about it. */
export class ApiFailure extends Error {
  readonly kind: FailureKind
  readonly status: number | null

  constructor(kind: FailureKind, status: number | null, message: string) {
    super(message)
    this.kind = kind
    this.status = status
  }
}

const KIND_OF_STATUS: Record<number, FailureKind> = { 401: 'signed_out', 403: 'forbidden', 404: 'not_found' }
const ANSWER_WAIT_MS = 10_000

export interface ClientOptions {
  base?: string
  fetch?: typeof globalThis.fetch
}

export class Client {
  readonly #base: string
  readonly #fetch: typeof globalThis.fetch

  constructor({ base = document.baseURI, fetch = globalThis.fetch.bind(globalThis) }: ClientOptions = {}) {
    this.#base = new URL('.', base).href
    this.#fetch = fetch
  }

  async properties(signal?: AbortSignal): Promise<Property[]> {
    return (await this.#get<{ properties: Property[] }>('api/v1/properties', signal)).properties
  }

  async property(id: string, signal?: AbortSignal): Promise<Property> {
    return this.#get<Property>(`api/v1/properties/${encodeURIComponent(id)}`, signal)
  }

  async accessEvents(property: string, before: string | null, limit = 50, signal?: AbortSignal): Promise<AccessEventPage> {
    const query = new URLSearchParams({ limit: String(limit) })
    if (before !== null) query.set('before', before)
    return this.#get<AccessEventPage>(`api/v1/properties/${encodeURIComponent(property)}/access-events?${query}`, signal)
  }

  /** Where the live stream of a property is: the page's own origin, so the session cookie goes with it. */
  liveAddress(property: string): string {
    const address = new URL(`api/v1/properties/${encodeURIComponent(property)}/live`, this.#base)
    address.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:'
    return address.href
  }

  async #get<T>(path: string, signal?: AbortSignal): Promise<T> {
    const deadline = AbortSignal.timeout(ANSWER_WAIT_MS)
    let response: Response
    try {
      response = await this.#fetch(new URL(path, this.#base), {
        headers: { accept: 'application/json' },
        credentials: 'same-origin',
        cache: 'no-store',
        redirect: 'error',
        signal: signal === undefined ? deadline : AbortSignal.any([signal, deadline]),
      })
    } catch (error) {
      if (signal?.aborted) throw error
      throw new ApiFailure('unreachable', null, 'The cloud did not answer.')
    }
    if (!response.ok) {
      const problem = await readProblem(response)
      const said = problem.detail ?? problem.title ?? `The cloud answered ${response.status}.`
      const kind = KIND_OF_STATUS[response.status] ?? (response.status >= 500 ? 'unreachable' : 'refused')
      throw new ApiFailure(kind, response.status, said)
    }
    try {
      return (await response.json()) as T
    } catch {
      throw new ApiFailure('refused', response.status, 'The cloud answered something that is not JSON.')
    }
  }
}

async function readProblem(response: Response): Promise<Problem> {
  try {
    return (await response.json()) as Problem
  } catch {
    return {}
  }
}
