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
