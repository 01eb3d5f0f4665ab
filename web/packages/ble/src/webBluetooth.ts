/**
 * Web Bluetooth behind the port. It decides nothing: choose, connect, write, hear.
 *
 * What a browser does not show: adverts, before a device was picked (so the list is filtered by the browser, by the rotating
 * ids where it knows that filter and else by the service alone) and the MTU (so frames are made as the lock makes its own).
 * Where notifications do not come through, the last notified frame can be read (SPEC.md 1), and is.
 */
import { type Bytes, decodeAdvert, type DoorKeys, equal, hex, idsAround, LinkLostError, PeerProtocolError, RX_UUID, SERVICE_UUID, TX_UUID } from '@innkeeper/door'
import { type Availability, type DoorDevice, type DoorLink, type DoorRadio, NotChosenError, OtherDoorError, RadioOffError } from './port'

/** Notifications that have not come for this long may not come at all: then we read. */
const QUIET_MS = 400
const POLL_MS = 60
/** A write or read that has not ended by then will not: the link is gone, whatever the browser has noticed. */
export const OPERATION_WAIT_MS = 2_000
/** A message has at most 1024 bytes: 54 frames at the smallest MTU. */
const FRAMES_WAITING_MOST = 64

/** The part of the Web Bluetooth specification that is used here. */
export interface WebBluetooth extends EventTarget {
  getAvailability?(): Promise<boolean>
  requestDevice(options: RequestOptions): Promise<WebDevice>
}

export interface RequestOptions {
  filters: { services: string[]; serviceData?: { service: string; dataPrefix: Bytes }[] }[]
}

export interface WebDevice extends EventTarget {
  readonly gatt?: WebServer | undefined
  watchAdvertisements?(options: { signal: AbortSignal }): Promise<void>
}

interface WebServer {
  readonly connected: boolean
  connect(): Promise<WebServer>
  disconnect(): void
  getPrimaryService(uuid: string): Promise<WebService>
}

interface WebService {
  getCharacteristic(uuid: string): Promise<WebCharacteristic>
}

interface WebCharacteristic extends EventTarget {
  readonly value?: DataView | undefined
  startNotifications(): Promise<unknown>
  readValue(): Promise<DataView>
  writeValueWithoutResponse(value: Bytes): Promise<void>
}

interface AdvertisementEvent extends Event {
  readonly serviceData: ReadonlyMap<string, DataView>
}

/** This browser's Bluetooth, or null: it has none for pages. */
export function webBluetooth(browser: object): WebBluetooth | null {
  return 'bluetooth' in browser && browser.bluetooth instanceof EventTarget ? (browser.bluetooth as WebBluetooth) : null
}

export class WebRadio implements DoorRadio {
  readonly #bluetooth: WebBluetooth | null

  constructor(bluetooth: WebBluetooth | null) {
    this.#bluetooth = bluetooth
  }

  async availability(): Promise<Availability> {
    if (this.#bluetooth === null) return 'unsupported'
    return (await (this.#bluetooth.getAvailability?.() ?? Promise.resolve(true))) ? 'ready' : 'off'
  }

  /** Call `changed` whenever Bluetooth is switched on or off; returns how to stop. */
  onAvailability(changed: () => void): () => void {
    this.#bluetooth?.addEventListener('availabilitychanged', changed)
    return () => this.#bluetooth?.removeEventListener('availabilitychanged', changed)
  }

  async choose(door: DoorKeys, atS: number): Promise<DoorDevice> {
    if (this.#bluetooth === null) throw new RadioOffError('this browser has no Bluetooth for pages')
    const ids = await idsAround(door, atS)
    // A browser that does not know serviceData passes over it; then each filter says the service alone.
    const filters = ids.map((id) => ({ services: [SERVICE_UUID], serviceData: [{ service: SERVICE_UUID, dataPrefix: Uint8Array.of(1, ...id) }] }))
    try {
      return new PickedDevice(await this.#bluetooth.requestDevice({ filters }), ids)
    } catch (error) {
      if (!(error instanceof DOMException)) throw error
      if (error.name === 'NotFoundError' && (await this.availability()) === 'ready') throw new NotChosenError(error.message, { cause: error })
      throw new RadioOffError(error.message, { cause: error })
    }
  }
}

class PickedDevice implements DoorDevice {
  readonly #device: WebDevice
  readonly #ids: readonly Bytes[]

  constructor(device: WebDevice, ids: readonly Bytes[]) {
    this.#device = device
    this.#ids = ids
  }

  async connect(waitMs: number): Promise<DoorLink> {
    const stop = new AbortController()
    const seen = this.#watch(stop.signal)
    let late: ReturnType<typeof setTimeout> | undefined
    const tooLate = new Promise<never>((_, reject) => {
      late = setTimeout(() => reject(new LinkLostError(`no connection within ${waitMs} ms`)), waitMs)
    })
    try {
      return await Promise.race([this.#open(seen), tooLate])
    } catch (error) {
      this.#device.gatt?.disconnect()
      throw error instanceof DOMException ? lostOrStrange(error) : error
    } finally {
      clearTimeout(late)
      stop.abort()
    }
  }

  async #open(seen: { other: boolean }): Promise<DoorLink> {
    const server = await this.#device.gatt?.connect()
    if (server === undefined) throw new LinkLostError('this device cannot be connected to')
    if (seen.other) throw new OtherDoorError('it shows the advert of another door')
    const service = await server.getPrimaryService(SERVICE_UUID)
    const tx = await service.getCharacteristic(TX_UUID)
    const rx = await service.getCharacteristic(RX_UUID)
    const link = new GattLink(this.#device, server, tx, rx)
    await rx.startNotifications()
    return link
  }

  /** Where the browser shows adverts, a door that shows another's id is not asked. */
  #watch(signal: AbortSignal): { other: boolean } {
    const seen = { other: false }
    if (this.#device.watchAdvertisements === undefined) return seen
    const onAdvert = (event: Event): void => {
      const data = (event as AdvertisementEvent).serviceData.get(SERVICE_UUID)
      if (data === undefined) return
      try {
        const shown = decodeAdvert(bytesOf(data)).id
        seen.other = !this.#ids.some((id) => equal(id, shown))
      } catch (error) {
        if (!(error instanceof PeerProtocolError)) throw error // anybody may advert anything
      }
    }
    this.#device.addEventListener('advertisementreceived', onAdvert, { signal })
    this.#device.watchAdvertisements({ signal }).catch(() => {}) // refused or aborted: then nothing is seen, as without it
    return seen
  }
}

class GattLink implements DoorLink {
  readonly #server: WebServer
  readonly #tx: WebCharacteristic
  readonly #rx: WebCharacteristic
  readonly #ended = new AbortController()
  readonly #taken = new Set<string>()
  #waiting: Bytes[] = []
  #wake: (() => void) | null = null
  #reading: Promise<boolean> | null = null
  #isNotified = false
  #hasRead = false
  readonly #lost = new AbortController()

  constructor(device: WebDevice, server: WebServer, tx: WebCharacteristic, rx: WebCharacteristic) {
    this.#server = server
    this.#tx = tx
    this.#rx = rx
    const { signal } = this.#ended
    rx.addEventListener('characteristicvaluechanged', () => this.#onValue(), { signal })
    device.addEventListener('gattserverdisconnected', () => this.#onLost(), { signal })
  }

  async write(frame: Bytes): Promise<void> {
    await this.#reading // one operation at a time is all that GATT takes
    if (this.#lost.signal.aborted) throw new LinkLostError('the link broke')
    try {
      if (await this.#inTime(this.#tx.writeValueWithoutResponse(frame))) return
    } catch (error) {
      throw error instanceof DOMException ? new LinkLostError(`writing failed: ${error.message}`, { cause: error }) : error
    }
    throw new LinkLostError('writing did not end')
  }

  async read(waitMs: number): Promise<Bytes | null> {
    const untilMs = performance.now() + waitMs
    let quietMs = this.#hasRead && !this.#isNotified ? 0 : QUIET_MS
    for (;;) {
      const frame = this.#waiting.shift()
      if (frame !== undefined) return frame
      if (this.#lost.signal.aborted) throw new LinkLostError('the link broke')
      const leftMs = untilMs - performance.now()
      if (leftMs <= 0) return null
      if (quietMs <= 0) await this.#readOnce()
      if (this.#waiting.length === 0 && !this.#lost.signal.aborted) await this.#quiet(Math.min(leftMs, quietMs > 0 ? quietMs : POLL_MS))
      quietMs = 0
    }
  }

  close(): void {
    this.#ended.abort()
    this.#onLost() // whoever still reads is told at once
    this.#server.disconnect()
  }

  /** A notification, or what a read of ours brought: browsers tell both by the same event. */
  #onValue(): void {
    if (this.#reading === null) this.#isNotified = true
    if (this.#rx.value !== undefined) this.#take(bytesOf(this.#rx.value))
  }

  #take(frame: Bytes): void {
    const name = hex(frame)
    // A read brings the last frame again, and a notification may come after the read that overtook it.
    if (frame.length === 0 || (this.#hasRead && this.#taken.has(name))) return
    this.#taken.add(name)
    if (this.#taken.size > FRAMES_WAITING_MOST) this.#taken.delete(this.#taken.values().next().value!)
    if (this.#waiting.length >= FRAMES_WAITING_MOST) this.#onLost()
    else this.#waiting.push(frame)
    this.#wake?.()
  }

  async #readOnce(): Promise<void> {
    this.#hasRead = true
    const read = this.#rx.readValue().then(
      (value) => this.#take(bytesOf(value)),
      () => {}, // refused, or the link broke: the one leaves us to notifications, the other is told by its own event
    )
    this.#reading = this.#inTime(read)
    await this.#reading
    this.#reading = null
  }

  /** Whether `operation` ended before the link did; if neither ends, the link is taken for lost. */
  async #inTime(operation: Promise<unknown>): Promise<boolean> {
    let late: ReturnType<typeof setTimeout> | undefined
    const { signal } = this.#lost
    const ended = new Promise<false>((resolve) => {
      late = setTimeout(() => { this.#onLost(); resolve(false) }, OPERATION_WAIT_MS)
      signal.addEventListener('abort', () => resolve(false), { once: true })
    })
    try {
      return await Promise.race([operation.then(() => true), ended])
    } finally {
      clearTimeout(late)
    }
  }

  async #quiet(waitMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const late = setTimeout(resolve, waitMs)
      this.#wake = () => {
        clearTimeout(late)
        resolve()
      }
    })
    this.#wake = null
  }

  #onLost(): void {
    this.#lost.abort()
    this.#wake?.()
  }
}

function bytesOf(value: DataView): Bytes {
  return new Uint8Array(new Uint8Array(value.buffer, value.byteOffset, value.byteLength))
}

/** NotFoundError: connected, but no lock of ours lives there. Everything else is the air. */
function lostOrStrange(error: DOMException): LinkLostError | PeerProtocolError {
  return error.name === 'NotFoundError' ? new PeerProtocolError(error.message, { cause: error }) : new LinkLostError(error.message, { cause: error })
}
