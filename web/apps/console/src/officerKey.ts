/**
 * The key with which a reader approves emergency keys as an officer: made in this browser, unreadable, and never leaves it.
 *
 * The building knows it by its public point, which stands among `officers` in doors.toml. Clearing the browser's data loses it: then
 * another officer approves, and a new key is written there.
 */
import { type Bytes, fromHex, hex, isApprovalStatement, newPhoneKey, pointOf, signEs256 } from '@innkeeper/door'
import { Refused } from './passkeys'

const NAME = 'innkeeper-officer'
const STORE = 'key'
const MINE = 'mine'
const KID_BYTES = 4

export interface OfficerKey {
  /** The public point, 66 hexadecimal digits: what stands in doors.toml. */
  point: string
  /** What approvals name it by, 8 hexadecimal digits. */
  kid: string
  /** Approve. Rejects with Refused for what is no emergency key's statement: a server hands it over, and this key signs nothing else. */
  sign(statement: string): Promise<string>
}

/** This browser's officer key; null: none was made yet. Rejects with a DOMException where pages may keep nothing. */
export async function officerKey(databases: IDBFactory = indexedDB): Promise<OfficerKey | null> {
  const kept = (await within(databases, 'readonly', (store) => store.get(MINE))) as CryptoKeyPair | undefined
  return kept === undefined ? null : keyOf(kept)
}

/** Make one, unless there is one. */
export async function makeOfficerKey(databases: IDBFactory = indexedDB): Promise<OfficerKey> {
  const there = await officerKey(databases)
  if (there !== null) return there
  const made = await newPhoneKey()
  await within(databases, 'readwrite', (store) => store.put(made, MINE))
  return keyOf(made)
}

/** A key as an officer's; `signature` and `statement` in hexadecimal. */
export async function keyOf({ privateKey, publicKey }: CryptoKeyPair): Promise<OfficerKey> {
  const point = await pointOf(publicKey)
  return {
    point: hex(point),
    kid: await kidOf(point),
    sign: async (statement) => {
      const bytes = fromHex(statement)
      if (bytes === null || !isApprovalStatement(bytes)) throw new Refused(0, 'no-statement', 'What was to be signed is no emergency key’s statement. Nothing was signed; tell whoever looks after this system.')
      return hex(await signEs256(privateKey, bytes))
    },
  }
}

/** The id of a key by its compressed point, 8 hexadecimal digits: the first 4 bytes of its SHA-256. */
export async function kidOf(point: Bytes): Promise<string> {
  return hex(new Uint8Array(await crypto.subtle.digest('SHA-256', point)).slice(0, KID_BYTES))
}

async function within(databases: IDBFactory, mode: IDBTransactionMode, work: (store: IDBObjectStore) => IDBRequest): Promise<unknown> {
  const opening = databases.open(NAME, 1)
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE)
  const database = await result(opening)
  try {
    return await result(work(database.transaction(STORE, mode, { durability: 'strict' }).objectStore(STORE)))
  } finally {
    database.close()
  }
}

function result<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error ?? new DOMException('the store failed', 'UnknownError'))
  })
}
