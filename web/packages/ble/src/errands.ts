/**
 * What a phone does for the house at a lock that it has just opened: hand over what the house signed for that lock, and
 * take along the lock's log, sealed so that the phone cannot read it (protocols/door/SPEC.md 4, CARRY and FETCH).
 */
import { type Answer, type Bytes, RECORDS_IN_CHUNK_MOST, type Request } from '@innkeeper/door'

/** Of a lock's log at one visit: the lock lives on a battery. */
export const CHUNKS_IN_VISIT_MOST = 4
/** Objects handed over at one visit. */
export const CARRIED_IN_VISIT_MOST = 5

export interface SignedObject {
  signed: Bytes
  certificate: Bytes
}

export interface Errand {
  carry: readonly SignedObject[]
  /** The house has the log up to this record; null: it is not known, and nothing is fetched. */
  after: number | null
}

/** Where errands come from, and what comes back. None of it throws for a store. */
export interface Errands {
  /** By the lock's id in hexadecimal; null: there is nothing to do. */
  at(lock: string): Promise<Errand | null>
  /** The lock has taken it, or never will. */
  handed(lock: string, object: SignedObject): Promise<void>
  /** A sealed chunk of the records after `after`; the next one begins after `reached`. */
  fetched(lock: string, sealed: Bytes, reached: number): Promise<void>
}

/** Run a lock's errand over an exchange that stands. Throws what `ask` throws; what was done before stays done. */
export async function run(errands: Errands, lock: string, ask: (request: Request) => Promise<Answer>): Promise<void> {
  const errand = await errands.at(lock)
  if (errand === null) return
  let newest: number | null = null
  for (const object of errand.carry.slice(0, CARRIED_IN_VISIT_MOST)) {
    const { result } = await ask({ kind: 'carry', ...object, form: 'whole' })
    newest = result.auditSeq
    // Busy passes; every other refusal is the lock's last word on these bytes.
    if (result.status !== 'busy') await errands.handed(lock, object)
  }
  let after = errand.after
  if (after === null) return
  for (let chunks = 0; chunks < CHUNKS_IN_VISIT_MOST && (newest === null || after < newest); chunks += 1) {
    const { result, sealed } = await ask({ kind: 'fetch', afterSeq: after })
    if (result.status !== 'done' || sealed.length === 0) return
    newest = result.auditSeq
    if (after >= newest) return
    after = Math.min(after + RECORDS_IN_CHUNK_MOST, newest)
    await errands.fetched(lock, sealed, after)
  }
}
