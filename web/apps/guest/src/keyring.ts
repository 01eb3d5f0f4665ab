/**
 * What this phone keeps: its own key, which nobody can read out (WebCrypto, not extractable), the bundles it was given, and of
 * each lock that knows it a secret for the next visit, which nobody can read out either.
 *
 * IndexedDB, because it is the only store of a browser that holds a CryptoKey without its bytes.
 */
import type { Passes } from '@innkeeper/ble'
import type { CheckInInvitation } from './arrival'
import type { CarriedChunk, Carriage, LockStanding } from './carrier'
import { newPhoneKey, type RefusalReason } from '@innkeeper/door'

const NAME = 'innkeeper-guest'
const VERSION = 3
const KEY_STORE = 'key'
const BUNDLE_STORE = 'bundles'
const PASS_STORE = 'passes'
const CHUNK_STORE = 'chunks'
const STANDING_STORE = 'standings'
const PHONE = 'phone'

/** What a door last said of a grant that it refused for good. */
export interface Said {
  reason: RefusalReason
  atMs: number
}

/** A bundle as it came, and what its doors have said since, by door. `id` is the grant's. */
export interface KeptBundle {
  id: string
  document: unknown
  said: Record<string, Said>
  /** The invitation that it came by, if it did: the way to the house while the stay lasts. */
  from?: CheckInInvitation | null
}

export interface Keyring {
  /** The phone's key; made at the first call. */
  phoneKey(): Promise<CryptoKeyPair>
  bundles(): Promise<KeptBundle[]>
  keep(bundle: KeptBundle): Promise<void>
  /** Forget bundles, and what their locks were told. */
  drop(ids: readonly string[]): Promise<void>
  /** What the locks of a bundle know this phone by. */
  passesOf(id: string): Passes
  /** What is on its way between the house and its locks. */
  readonly carriage: Carriage
  /** Forget bundles, passes and key. */
  clear(): Promise<void>
}

/** This browser's keyring. Rejects with a DOMException where pages may keep nothing. */
export async function openKeyring(databases: IDBFactory): Promise<Keyring> {
  const opening = databases.open(NAME, VERSION)
  opening.onupgradeneeded = ({ oldVersion }) => {
    if (oldVersion < 1) {
      opening.result.createObjectStore(KEY_STORE)
      opening.result.createObjectStore(BUNDLE_STORE, { keyPath: 'id' })
    }
    if (oldVersion < 2) opening.result.createObjectStore(PASS_STORE)
    opening.result.createObjectStore(CHUNK_STORE, { keyPath: 'no', autoIncrement: true })
    opening.result.createObjectStore(STANDING_STORE, { keyPath: ['holding', 'lock'] })
  }
  return new IndexedKeyring(await done(opening))
}

class IndexedKeyring implements Keyring {
  readonly #database: IDBDatabase

  constructor(database: IDBDatabase) {
    this.#database = database
    database.onversionchange = () => database.close()
  }

  async phoneKey(): Promise<CryptoKeyPair> {
    const kept = (await done(this.#store(KEY_STORE, 'readonly').get(PHONE))) as CryptoKeyPair | undefined
    if (kept !== undefined) return kept
    const made = await newPhoneKey()
    const adding = this.#store(KEY_STORE, 'readwrite')
    // Two tabs may be first at once: whoever adds first has made the key of both.
    const added = await done(adding.add(made, PHONE)).then(() => true, (error: unknown) => { if (isTaken(error)) return false; throw error })
    return added ? made : ((await done(this.#store(KEY_STORE, 'readonly').get(PHONE))) as CryptoKeyPair)
  }

  async bundles(): Promise<KeptBundle[]> {
    return (await done(this.#store(BUNDLE_STORE, 'readonly').getAll())) as KeptBundle[]
  }

  async keep(bundle: KeptBundle): Promise<void> {
    await done(this.#store(BUNDLE_STORE, 'readwrite').put(bundle))
  }

  async drop(ids: readonly string[]): Promise<void> {
    for (const id of ids) {
      await done(this.#store(BUNDLE_STORE, 'readwrite').delete(id))
      await this.carriage.dropChunks((await this.carriage.chunks()).filter(({ holding }) => holding === id).map(({ no }) => no))
      for (const name of [PASS_STORE, STANDING_STORE]) await done(this.#store(name, 'readwrite').delete(IDBKeyRange.bound([id], [id, []])))
    }
  }

  passesOf(id: string): Passes {
    return {
      get: async (lock) => {
        const pass: unknown = await unlessFailed(() => done(this.#store(PASS_STORE, 'readonly').get([id, lock])))
        return pass instanceof CryptoKey ? pass : null
      },
      keep: async (lock, pass) => {
        await unlessFailed(async () => {
          const store = this.#store(PASS_STORE, 'readwrite')
          if (pass === null) await done(store.delete([id, lock]))
          else await done(store.put(pass, [id, lock]))
        })
      },
    }
  }

  readonly carriage: Carriage = {
    chunks: async () => ((await unlessFailed(() => done(this.#store(CHUNK_STORE, 'readonly').getAll()))) ?? []) as (CarriedChunk & { no: number })[],
    keepChunk: async (chunk) => { await unlessFailed(() => done(this.#store(CHUNK_STORE, 'readwrite').add(chunk))) },
    dropChunks: async (nos) => { for (const no of nos) await unlessFailed(() => done(this.#store(CHUNK_STORE, 'readwrite').delete(no))) },
    standing: async (holding, lock) => ((await unlessFailed(() => done(this.#store(STANDING_STORE, 'readonly').get([holding, lock])))) ?? null) as LockStanding | null,
    keepStanding: async (standing) => { await unlessFailed(() => done(this.#store(STANDING_STORE, 'readwrite').put(standing))) },
  }

  async clear(): Promise<void> {
    for (const name of [PASS_STORE, STANDING_STORE, CHUNK_STORE]) await done(this.#store(name, 'readwrite').clear())
    await done(this.#store(BUNDLE_STORE, 'readwrite').clear())
    await done(this.#store(KEY_STORE, 'readwrite').clear())
  }

  #store(name: string, mode: IDBTransactionMode): IDBObjectStore {
    return this.#database.transaction(name, mode, { durability: 'strict' }).objectStore(name)
  }
}

/** The result once it is committed (of a write) or read. */
function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const transaction = request.transaction
    request.onerror = () => reject(request.error ?? new DOMException('the store failed', 'UnknownError'))
    if (transaction === null || transaction.mode === 'readonly') {
      request.onsuccess = () => resolve(request.result)
    } else {
      transaction.oncomplete = () => resolve(request.result)
      transaction.onabort = () => reject(transaction.error ?? request.error ?? new DOMException('the store failed', 'AbortError'))
    }
  })
}

/** Passes are shortcuts, and what is carried is the house's: a store that fails (full, closed by another tab) costs no door. */
async function unlessFailed(work: () => Promise<unknown>): Promise<unknown> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof DOMException) return null
    throw error
  }
}

function isTaken(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'ConstraintError'
}
