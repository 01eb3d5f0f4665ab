/**
 * What can go wrong at a door, after protocols/errors.py. Every error answers two questions: may I try again, and may
 * it already have happened?
 */

/** Why a credential was refused; names as on the wire and in the hotel's records. */
export const REFUSAL_REASONS = [
  'unknown_issuer',
  'bad_signature',
  'wrong_door',
  'superseded',
  'revoked',
  'not_yet_valid',
  'expired',
  'privacy_on',
  'time_uncertain',
  'malformed',
  'unsupported_version',
  'busy',
  'not_allowed',
  'out_of_hours',
  'used_up',
  'needs_user_verification',
  'locked_out',
] as const
export type RefusalReason = (typeof REFUSAL_REASONS)[number]

export class DoorError extends Error {
  readonly retryable: boolean = false
  readonly mayHaveTakenEffect: boolean = false

  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = new.target.name
  }
}

/** We tried to do what the specification forbids: our defect. */
export class LocalProtocolError extends DoorError {}

/** They sent what the specification forbids: drop the link. */
export class PeerProtocolError extends DoorError {}

/** They speak a version that we do not. */
export class UnsupportedVersionError extends PeerProtocolError {
  constructor(what: string, got: unknown) {
    super(`${what} version ${String(got)} is not supported here; supported: 1`)
  }
}

/** It never left: safe to try again. */
export class LinkLostError extends DoorError {
  override readonly retryable = true
}

/** Sent and unanswered: the door may have opened. */
export class ReplyTimeoutError extends DoorError {
  override readonly mayHaveTakenEffect = true
}

/** A bundle or a link is wrong: names the place and what is wrong, never a secret. */
export class InvalidInputError extends DoorError {
  readonly place: string

  constructor(place: string, problem: string) {
    super(`${place}: ${problem}`)
    this.place = place
  }
}

/** A credential was judged and refused. */
export class CredentialRefusedError extends DoorError {
  readonly reason: RefusalReason

  constructor(reason: RefusalReason) {
    super(reason)
    this.reason = reason
  }
}
