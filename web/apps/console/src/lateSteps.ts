/** What a kiosk told of a check-in after its house was cut off (docs/decisions/0138), as the desk reads it. */
import type { Evidence } from '@innkeeper/api'

/** Why a step is with the desk, where a house that was cut off is why. */
export const LATE_REASONS: Record<string, string> = {
  offline: 'not done while the hotel was cut off: do it with the guest',
  kiosk_differs: 'another document was shown at the kiosk than in the check-in: compare the two',
}
const STATES: Record<string, string> = { done: 'done', waived: 'done at the desk', needs_staff: 'left to staff' }

/** Both answers to a step, where the kiosk gave one and somebody else another; else nothing. */
export function bothOf({ evidence }: Pick<Evidence, 'evidence'>, day: Intl.DateTimeFormat): string[] {
  const { kiosk, here } = evidence as Record<string, unknown>
  if (!isRecord(kiosk) || !isRecord(here)) return []
  return [`At the kiosk: ${said(kiosk, kiosk['by'], day)}`, `In the check-in: ${said(here, here['actor'], day)}`]
}

function said(answer: Record<string, unknown>, who: unknown, day: Intl.DateTimeFormat): string {
  const { state, reason, at_ms: atMs, evidence } = answer
  const shown = isRecord(evidence) ? ['code', 'issuing_state', 'expires'].map((name) => evidence[name]).filter((each) => typeof each === 'string') : []
  const parts = [
    `${STATES[String(state)] ?? String(state)}${typeof reason === 'string' ? ` (${LATE_REASONS[reason] ?? reason.replaceAll('_', ' ')})` : ''}`,
    ...(shown.length > 0 ? [`document ${shown.join(' ')}`] : []),
    typeof who === 'string' ? who : 'unknown',
    ...(typeof atMs === 'number' && Number.isFinite(new Date(atMs).getTime()) ? [day.format(new Date(atMs))] : []),
  ]
  return parts.join(', ')
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
