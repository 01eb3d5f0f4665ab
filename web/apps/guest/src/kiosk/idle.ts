/** Nobody has touched the screen for a while: the guest is asked whether he is there, and then forgotten. No DOM, no clock of its own. */

export const IDLE_MS = 5 * 60_000
export const ASKED_MS = 30_000
/** After everything is done nobody needs the screen for long. */
export const DONE_MS = 10_000
/** Who holds a card reads the number of his room. */
export const READ_MS = 30_000

export type Idle = { kind: 'there' } | { kind: 'asked'; leftMs: number } | { kind: 'gone' }

export function idleAt(touchedMs: number, nowMs: number, limitMs: number = IDLE_MS): Idle {
  const leftMs = touchedMs + limitMs - nowMs
  if (leftMs <= 0) return { kind: 'gone' }
  return limitMs > ASKED_MS && leftMs <= ASKED_MS ? { kind: 'asked', leftMs } : { kind: 'there' }
}
