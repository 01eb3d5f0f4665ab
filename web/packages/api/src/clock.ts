/**
 * What time it is at the cloud, guessed from what the cloud last said.
 *
 * Ages are shown against the cloud's clock, never against the clock of whoever looks: a laptop that is five
 * minutes off must not call a fresh value old, nor an old one fresh. Between two words from the cloud the local
 * clock carries the guess on, so that ages go on growing when the stream is dead or the machine has slept.
 */
export class CloudClock {
  readonly #localNow: () => number
  #ahead_ms: number | null = null

  /** @param localNow unix milliseconds of this machine, right or wrong */
  constructor(localNow: () => number = Date.now) {
    this.#localNow = localNow
  }

  /** The cloud said that it was `asOf` when it sent what has just come. */
  observe(asOf: string): void {
    const at_ms = Date.parse(asOf)
    if (!Number.isNaN(at_ms)) this.#ahead_ms = at_ms - this.#localNow()
  }

  /** Unix milliseconds at the cloud, as well as we know. */
  now_ms(): number {
    return this.#localNow() + (this.#ahead_ms ?? 0)
  }
}

/** Milliseconds since `at`, never negative; null when `at` is not known or cannot be read. */
export function ageMs(at: string | null | undefined, now_ms: number): number | null {
  if (at == null) return null
  const at_ms = Date.parse(at)
  return Number.isNaN(at_ms) ? null : Math.max(0, now_ms - at_ms)
}

/** A clock this far ahead of ours is wrong; less is how clocks are. */
export const AHEAD_FROM_MS = 5_000

/** How far the clock that wrote `at` was ahead of ours at least: what has reached us has happened. 0: not worth a word. */
export function aheadMs(at: string | null | undefined, received_at: string | null | undefined): number {
  if (at == null || received_at == null) return 0
  const ahead_ms = Date.parse(at) - Date.parse(received_at)
  return ahead_ms >= AHEAD_FROM_MS ? ahead_ms : 0
}

/** When it was so, as far as that can be: when it says, but no later than it reached us. */
export function stoodAt<T extends string | null>(at: T, received_at: string | null | undefined): T | string {
  return at !== null && received_at != null && Date.parse(at) > Date.parse(received_at) ? received_at : at
}
