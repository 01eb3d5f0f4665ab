/** At the lock: what is handed over, what is taken along, and when it is enough. */
import type { Answer, Request, Status } from '@innkeeper/door'
import { describe, expect, it } from 'vitest'
import { CHUNKS_IN_VISIT_MOST, type Errand, type Errands, type SignedObject } from '../src'
import { run } from '../src/errands'

const LOCK = '7733b6bf78f85549'
const object = (no: number): SignedObject => ({ signed: Uint8Array.of(no), certificate: Uint8Array.of(0) })

class Notes implements Errands {
  readonly errand: Errand | null
  readonly handedOver: number[] = []
  readonly reached: number[] = []

  constructor(errand: Errand | null) {
    this.errand = errand
  }

  async at() { return this.errand }
  async handed(_lock: string, { signed }: SignedObject) { this.handedOver.push(signed[0]!) }
  async fetched(_lock: string, _sealed: Uint8Array, reached: number) { this.reached.push(reached) }
}

function lockOf(newest: number, statuses: Status[] = []) {
  const asked: Request[] = []
  const ask = async (request: Request): Promise<Answer> => {
    asked.push(request)
    const status = request.kind === 'carry' ? (statuses.shift() ?? 'done') : 'done'
    const result = { status, auditSeq: newest, timeS: 0, timeQuality: 0, batteryPercent: null, bolt: 'unknown' as const, revocationSeq: 0, generation: 0, chainHead: '' }
    return { result, sealed: request.kind === 'fetch' ? Uint8Array.of(7) : new Uint8Array(0), fast: false }
  }
  return { asked, ask }
}

describe('an errand', () => {
  it('with nothing to do says nothing', async () => {
    const { asked, ask } = lockOf(9)
    await run(new Notes(null), LOCK, ask)
    expect(asked).toEqual([])
  })

  it('hands over first, then takes the log along to its end', async () => {
    const { asked, ask } = lockOf(45)
    const notes = new Notes({ carry: [object(1), object(2)], after: 10 })
    await run(notes, LOCK, ask)
    expect(asked.map((each) => (each.kind === 'fetch' ? each.afterSeq : each.kind))).toEqual(['carry', 'carry', 10, 30])
    expect([notes.handedOver, notes.reached]).toEqual([[1, 2], [30, 45]])
  })

  it('what the lock refuses for good is not brought again; a busy one is asked at another visit', async () => {
    const { ask } = lockOf(0, ['unchanged', 'wrong_door', 'busy'])
    const notes = new Notes({ carry: [object(1), object(2), object(3)], after: null })
    await run(notes, LOCK, ask)
    expect(notes.handedOver).toEqual([1, 2])
  })

  it('fetches nothing where the house has it all, or where nobody knows', async () => {
    const known = lockOf(45)
    const notes = new Notes({ carry: [object(1)], after: 45 })
    await run(notes, LOCK, known.ask)
    expect(known.asked).toHaveLength(1)
    await run(new Notes({ carry: [], after: null }), LOCK, known.ask)
    expect(known.asked).toHaveLength(1)
    const alone = lockOf(45)
    const unknown = new Notes({ carry: [], after: 45 })
    await run(unknown, LOCK, alone.ask)
    expect(unknown.reached).toEqual([])
  })

  it('leaves a long log to the next who comes by', async () => {
    const { asked, ask } = lockOf(2_000)
    const notes = new Notes({ carry: [], after: 0 })
    await run(notes, LOCK, ask)
    expect(asked).toHaveLength(CHUNKS_IN_VISIT_MOST)
    expect(notes.reached.at(-1)).toBe(80)
  })
})
