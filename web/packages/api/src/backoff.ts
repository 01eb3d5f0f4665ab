/**
 * Full jitter: the wait before try n is drawn evenly from 0 to min(most, first * 2^n), so that a thousand pages
 * that lost the same cloud at the same moment do not come back at the same moment.
 * Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
 */
export interface Backoff {
  first_ms: number
  most_ms: number
}

export function fullJitterMs(backoff: Backoff, tries: number, random: () => number): number {
  const ceiling_ms = Math.min(backoff.most_ms, backoff.first_ms * 2 ** Math.min(tries, 30))
  return Math.round(random() * ceiling_ms)
}
