/** A carriage in memory. */
import { vector } from '../../../packages/door/tests/vectors'
import type { CarriedChunk, Carriage, LockStanding } from '../src/carrier'

export class MemoryCarriage implements Carriage {
  kept: (CarriedChunk & { no: number })[] = []
  standings = new Map<string, LockStanding>()
  #last = 0

  async chunks() { return [...this.kept] }
  async keepChunk(chunk: CarriedChunk) { this.kept.push({ ...chunk, no: (this.#last += 1) }) }
  async dropChunks(nos: readonly number[]) { this.kept = this.kept.filter(({ no }) => !nos.includes(no)) }
  async standing(holding: string, lock: string) { return this.standings.get(`${holding} ${lock}`) ?? null }
  async keepStanding(standing: LockStanding) { this.standings.set(`${standing.holding} ${standing.lock}`, standing) }
}

export const bundleDocument = (): Record<string, any> => structuredClone(vector('door/bundle')['bundle'])
