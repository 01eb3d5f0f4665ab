/** What opening a door needs of a radio. Web Bluetooth is behind it in the browser, a script of frames in the tests. */
import { type Bytes, DoorError, type DoorKeys } from '@innkeeper/door'

export type Availability = 'ready' | 'off' | 'unsupported'

export interface DoorRadio {
  availability(): Promise<Availability>
  /**
   * Let the guest pick the lock of `door`; only within a user's action.
   *
   * Throws NotChosenError, RadioOffError.
   */
  choose(door: DoorKeys, atS: number): Promise<DoorDevice>
}

/** A lock that was picked, by an address that it will change with its advert. */
export interface DoorDevice {
  /** Throws LinkLostError (nothing was sent), OtherDoorError, PeerProtocolError (no lock of ours). */
  connect(waitMs: number): Promise<DoorLink>
}

/** One connection with notifications on. */
export interface DoorLink {
  /** Throws LinkLostError: this frame may or may not have left. */
  write(frame: Bytes): Promise<void>
  /** The next frame of the lock, or null after `waitMs`. Throws LinkLostError, PeerProtocolError (more than anybody may send). */
  read(waitMs: number): Promise<Bytes | null>
  close(): void
}

/** The guest closed the list, or nothing was in it. */
export class NotChosenError extends DoorError {
  override readonly retryable = true
}

/** Bluetooth is off, missing, or not allowed to this page. */
export class RadioOffError extends DoorError {
  override readonly retryable = true
}

/** By its advert, what was picked is another door than the one asked for. */
export class OtherDoorError extends DoorError {
  override readonly retryable = true
}
