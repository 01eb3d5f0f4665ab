/** Frames (SPEC.md 2): a message cut to fit one ATT write or notification, and put together again. */
import { type Bytes, concat } from './bytes'
import { LocalProtocolError, PeerProtocolError } from './errors'

export const MESSAGE_BYTES_MOST = 1024
/** ATT MTU 23, never negotiated, less 3 bytes of ATT header. */
export const FRAME_BYTES_LEAST = 20
/** Web Bluetooth writes no more at once. */
export const FRAME_BYTES_MOST = 512

const FIRST = 0x80
const LAST = 0x40
const SEQUENCE = 0x3f

/** Cut `message` into frames of at most `frameBytes`, header included. Throws LocalProtocolError. */
export function cut(message: Bytes, frameBytes: number): Bytes[] {
  if (message.length < 1 || message.length > MESSAGE_BYTES_MOST) throw new LocalProtocolError(`door message of ${message.length} bytes, 1 to ${MESSAGE_BYTES_MOST} are allowed`)
  if (frameBytes < FRAME_BYTES_LEAST) throw new LocalProtocolError(`door frames of ${frameBytes} bytes, ${FRAME_BYTES_LEAST} are the least`)
  const room = Math.min(frameBytes, FRAME_BYTES_MOST) - 1
  const count = Math.ceil(message.length / room)
  return Array.from({ length: count }, (_, at) => {
    const header = (at === 0 ? FIRST : 0) | (at === count - 1 ? LAST : 0) | at
    return concat(Uint8Array.of(header), message.subarray(at * room, (at + 1) * room))
  })
}

/** Puts one direction's frames together. Holds at most one message of 1024 bytes. */
export class Assembler {
  #parts: Bytes[] = []
  #size = 0
  #next = 0

  /** Take one whole frame; the message it completes, or null. Throws PeerProtocolError: drop the link. */
  take(frame: Uint8Array): Bytes | null {
    if (frame.length < 2) throw new PeerProtocolError(`door frame of ${frame.length} bytes`)
    const header = frame[0]!
    if (((header & FIRST) !== 0) !== (this.#next === 0) || (header & SEQUENCE) !== this.#next) {
      throw new PeerProtocolError(`door frame 0x${header.toString(16)} where number ${this.#next} was due`)
    }
    if (this.#size + frame.length - 1 > MESSAGE_BYTES_MOST) throw new PeerProtocolError(`door message longer than ${MESSAGE_BYTES_MOST} bytes`)
    this.#parts.push(new Uint8Array(frame.subarray(1)))
    this.#size += frame.length - 1
    if ((header & LAST) !== 0) {
      const message = concat(...this.#parts)
      this.#parts = []
      this.#size = 0
      this.#next = 0
      return message
    }
    if (this.#next === SEQUENCE) throw new PeerProtocolError(`door message of more than ${SEQUENCE + 1} frames`)
    this.#next += 1
    return null
  }
}
