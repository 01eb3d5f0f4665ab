/** What a kept bundle is worth now, before any door is asked: the page's pre-flight check. Pure. */
import { type Bundle, bundleOf, CredentialRefusedError, equal, type Bytes, type Grant, InvalidInputError, readGrant, readIssuer, type RefusalReason, UnsupportedVersionError } from '@innkeeper/door'
import type { CheckInInvitation } from './arrival'
import type { KeptBundle, Said } from './keyring'
import type { ArrivalTrouble } from './words'

/** The lock judges by its own clock: only what is far out is stopped here. The most a lock forgives a guest. */
export const LEEWAY_MS = 10 * 60_000
/** A key that ended is shown this long, so that its holder learns why; then it is dropped. */
export const ENDED_SHOWN_MS = 24 * 3_600_000
export const HOLDINGS_MOST = 32

/** A bundle, understood. */
export interface Holding {
  id: string
  bundle: Bundle
  grant: Grant
  said: Record<string, Said>
  document: unknown
  /** The invitation that it came by; null: it was handed over whole. */
  from: CheckInInvitation | null
}

export type Standing = 'valid' | 'pending' | 'ended' | 'needs_verification'

/** Refusals that no further try at the same door will change. */
export const FINAL_REASONS: readonly RefusalReason[] = ['superseded', 'revoked', 'expired', 'unknown_issuer', 'wrong_door', 'used_up', 'not_allowed']

/** When it begins and ends: the narrower of what the bundle says and what was signed. */
export const beginsMs = ({ bundle, grant }: Holding): number => Math.max(bundle.notBeforeMs, grant.notBeforeS * 1_000)
export const endsMs = ({ bundle, grant }: Holding): number => Math.min(bundle.notAfterMs, grant.notAfterS * 1_000)

export function standingOf(holding: Holding, nowMs: number): Standing {
  if (nowMs > endsMs(holding) + LEEWAY_MS) return 'ended'
  if (nowMs < beginsMs(holding) - LEEWAY_MS) return 'pending'
  return holding.grant.needsUserVerification ? 'needs_verification' : 'valid'
}

/** Read what was kept or has just come. Rejects with the errors of `@innkeeper/door`. */
export async function holdingOf(document: unknown, said: Record<string, Said> = {}, from: CheckInInvitation | null = null): Promise<Holding> {
  const bundle = bundleOf(document)
  const grant = await readGrant(bundle.grant, await readIssuer(bundle.certificate))
  return { id: grant.grantId, bundle, grant, said, document, from }
}

/** As `holdingOf`, for this phone: a trouble in place of an error. */
export async function arrived(document: unknown, phone: Bytes, from: CheckInInvitation | null = null): Promise<Holding | ArrivalTrouble> {
  try {
    const holding = await holdingOf(document, {}, from)
    return equal(holding.grant.phone, phone) ? holding : 'other_phone'
  } catch (error) {
    return troubleOf(error)
  }
}

/** Those of the kept bundles that can still be read; one from a future version of this page stays kept, unseen. */
export async function heldOf(kept: readonly KeptBundle[]): Promise<Holding[]> {
  const read = await Promise.all(
    kept.map(({ document, said, from }) =>
      holdingOf(document, said, from ?? null).catch((error: unknown) => {
        troubleOf(error)
        return null
      }),
    ),
  )
  return sorted(read.filter((holding) => holding !== null))
}

/** The holdings after `newest` has come, and the ids that it replaces: the same stay at a lock it shares, issued earlier. */
export function withNewest(holdings: readonly Holding[], newest: Holding): { holdings: Holding[]; replaced: string[] } {
  const locks = new Set(newest.bundle.doors.map(lockOf))
  const isReplaced = (held: Holding): boolean =>
    held.id === newest.id ||
    (held.bundle.stay === newest.bundle.stay && held.grant.issuedAtS <= newest.grant.issuedAtS && held.bundle.doors.some((door) => locks.has(lockOf(door))))
  const replaced = holdings.filter(isReplaced).map(({ id }) => id)
  return { holdings: sorted([...holdings.filter((held) => !isReplaced(held)), newest]), replaced: replaced.filter((id) => id !== newest.id) }
}

/** The ids of keys that ended so long ago that nobody asks why. */
export function longEnded(holdings: readonly Holding[], nowMs: number): string[] {
  return holdings.filter((held) => nowMs > endsMs(held) + ENDED_SHOWN_MS).map(({ id }) => id)
}

const lockOf = (door: Bundle['doors'][number]): string => door.keys.lockId.join()

function sorted(holdings: Holding[]): Holding[] {
  return holdings.sort((one, other) => beginsMs(one) - beginsMs(other) || one.id.localeCompare(other.id))
}

function troubleOf(error: unknown): ArrivalTrouble {
  if (error instanceof UnsupportedVersionError) return 'later_version'
  if (error instanceof InvalidInputError) return 'nonsense'
  if (error instanceof CredentialRefusedError) return error.reason === 'unsupported_version' ? 'later_version' : 'damaged'
  throw error
}
