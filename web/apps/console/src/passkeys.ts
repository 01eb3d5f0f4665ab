/** Passkeys as the browser has them and the cloud wants them. A failure is one sentence for the reader. */

const ANSWER_WAIT_MS = 15_000

export interface Passkey {
  id: string
  name: string
  synced: boolean
  created_at: string
  used_at: string | null
  suspended_at: string | null
}

/** What can be signed in with, besides a password. */
export interface Ways {
  passkeys: boolean
  companies: boolean
}

export interface Asking {
  ask?: typeof fetch
  base?: string
}

/** What the cloud refused; `kind` is the last part of the problem's type. */
export class Refused extends Error {
  readonly kind: string
  readonly status: number

  constructor(status: number, kind: string, message: string) {
    super(message)
    this.status = status
    this.kind = kind
  }
}

/** Ask the cloud, with a body or without; the answer, or undefined where it has none. */
export async function asked<T>(method: string, path: string, body?: unknown, { ask = fetch, base = document.baseURI }: Asking = {}): Promise<T> {
  let response: Response
  try {
    response = await ask(new URL(path, base), {
      method,
      ...(body === undefined ? {} : { headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(ANSWER_WAIT_MS),
    })
  } catch {
    throw new Refused(0, 'unreachable', 'The cloud does not answer. Try again in a moment.')
  }
  const told = (await response.json().catch(() => ({}))) as { type?: string; detail?: string }
  if (!response.ok) {
    throw new Refused(response.status, told.type?.split(':').at(-1) ?? '', told.detail ?? `The cloud refused (${response.status}).`)
  }
  return told as T
}

/** What the cloud and this browser can do; nothing where the cloud does not say. */
export async function waysIn(asking: Asking = {}): Promise<Ways> {
  const none = { passkeys: false, companies: false }
  try {
    const ways = await asked<Ways>('GET', 'api/v1/sign-in/ways', undefined, asking)
    return { ...ways, passkeys: ways.passkeys && canUsePasskeys() }
  } catch {
    return none
  }
}

export const canUsePasskeys = (): boolean =>
  typeof PublicKeyCredential !== 'undefined' && typeof PublicKeyCredential.parseRequestOptionsFromJSON === 'function'

/** Let the browser sign in with a passkey; null when it was let in, else what to tell the reader. */
export async function signInWithPasskey(asking: Asking = {}): Promise<string | null> {
  try {
    const { publicKey } = await asked<{ publicKey: PublicKeyCredentialRequestOptionsJSON }>('POST', 'api/v1/sign-in/passkey/options', undefined, asking)
    const found = await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(publicKey) })
    if (!(found instanceof PublicKeyCredential)) return 'No passkey was chosen.'
    await asked('POST', 'api/v1/sign-in/passkey', { credential: found.toJSON(), browser: true }, asking)
    return null
  } catch (error) {
    return inWords(error)
  }
}

/** Let the browser make a passkey for the reader's account; null when the cloud has it, else what to tell the reader. */
export async function addPasskey(name: string, asking: Asking = {}): Promise<string | null> {
  try {
    const { publicKey } = await asked<{ publicKey: PublicKeyCredentialCreationOptionsJSON }>('POST', 'api/v1/me/passkeys/options', undefined, asking)
    const made = await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(publicKey) })
    if (!(made instanceof PublicKeyCredential)) return 'No passkey was made.'
    await asked('POST', 'api/v1/me/passkeys', { name, credential: made.toJSON() }, asking)
    return null
  } catch (error) {
    return inWords(error)
  }
}

export function inWords(error: unknown): string {
  if (error instanceof Refused) {
    if (error.kind === 'sign-in-again') return 'Sign out and in again first: a passkey can be added within ten minutes of signing in.'
    return error.message
  }
  if (error instanceof DOMException) {
    if (error.name === 'NotAllowedError') return 'No passkey was used: the browser’s question was closed, or nobody answered it.'
    if (error.name === 'InvalidStateError') return 'This device holds a passkey of your account already.'
    if (error.name === 'SecurityError') return 'Passkeys do not work at this address; open the console at the address that your hotel uses.'
    return `The browser could not do it: ${error.message}`
  }
  throw error
}
