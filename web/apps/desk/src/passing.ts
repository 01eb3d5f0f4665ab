/**
 * Time as it passes for whoever sits before the page. A browser's own steady clock may stand still while the machine sleeps, and
 * its wall may be set: the steady one counts, and what the wall has gone on beyond it. Never younger than it is.
 */
const SLEEP_LEAST_MS = 2_000 // less is two clocks that differ

export function passing(steadyMs: () => number, wallMs: () => number): () => number {
  let [steadyBefore, wallBefore, sleptMs] = [steadyMs(), wallMs(), 0]
  return () => {
    const [steady, wall] = [steadyMs(), wallMs()]
    const gapMs = wall - wallBefore - (steady - steadyBefore)
    if (gapMs >= SLEEP_LEAST_MS) sleptMs += gapMs
    ;[steadyBefore, wallBefore] = [steady, wall]
    return steady + sleptMs
  }
}
