/** A phone's keyring in memory, and a page's ports that reach nobody. */
import type { Ports } from '../src/guest'
import type { Keyring, KeptBundle } from '../src/keyring'
import { MemoryCarriage } from './carriage'

export const BEGINS_MS = 1_800_000_000_000
export const ENDS_MS = 1_800_259_200_000
export const MINUTE_MS = 60_000

export class MemoryKeyring implements Keyring {
  kept = new Map<string, KeptBundle>()
  #pair: Promise<CryptoKeyPair> | null = null
  phoneKey(): Promise<CryptoKeyPair> { return (this.#pair ??= crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign', 'verify'])) }
  async bundles(): Promise<KeptBundle[]> { return [...this.kept.values()] }
  async keep(bundle: KeptBundle): Promise<void> { this.kept.set(bundle.id, structuredClone(bundle)) }
  async drop(ids: readonly string[]): Promise<void> { for (const id of ids) this.kept.delete(id) }
  readonly carriage = new MemoryCarriage()
  passesOf() { return { get: async () => null, keep: async () => {} } }
  async clear(): Promise<void> { this.kept.clear(); this.#pair = null }
}

export function ports(nowMs = BEGINS_MS): Ports & { keyring: MemoryKeyring; nowMs: number } {
  const it = {
    keyring: new MemoryKeyring(),
    radio: { availability: async () => 'ready' as const, onAvailability: () => () => {}, choose: () => Promise.reject(new TypeError('not in this test')) },
    nowMs,
    clock: { nowMs: () => 0, wallMs: () => it.nowMs, sleep: async () => {} },
    fetch: () => Promise.reject(new TypeError('Failed to fetch')),
    isOnLine: () => true,
    root: new URL('https://hotel.example/'),
  }
  return it
}
