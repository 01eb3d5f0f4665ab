/** Stand-ins that keep to the port and to the specification: a clock by hand, a scripted lock, a browser's Bluetooth. */
import { type Bundle, type BundleDoor, bundleOf, type Bytes, LinkLostError } from '@innkeeper/door'
import { Assembler, cut } from '../../door/src/frames'
import { hex } from '../../door/src/bytes'
import { bytes, doorKeysOf, type Json, vector } from '../../door/tests/vectors'
import type { Clock, DoorDevice, DoorLink, DoorRadio, Passes, RequestOptions, WebBluetooth, WebDevice } from '../src'

export const AT_S = 1_800_000_000

export class HandClock implements Clock {
  ms = 0
  nowMs(): number { return this.ms }
  wallMs(): number { return AT_S * 1_000 + this.ms }
  async sleep(ms: number): Promise<void> { this.ms += ms }
}

/** The bundle and the door with which the vector `name` was made. */
export function bundleAt(name: string): { bundle: Bundle; door: BundleDoor; said: Json } {
  const said = vector(`door/${name}`)
  const bundle = bundleOf(vector('door/bundle')['bundle'])
  const [request] = said['requests']
  const whole = (said['requests'] as Json[]).find((each) => each['form'] === 0)
  const door = { door: 'door-101', label: 'Room 101', keys: doorKeysOf(said['phone_knows']) }
  return { bundle: { ...bundle, grant: bytes(request.grant), certificate: whole === undefined ? bundle.certificate : bytes(whole['certificate']), doors: [door] }, door, said }
}

/** Plays the lock of a vector: says its frames when the phone has said the message before, and holds it to every byte. */
export class ScriptedLock {
  readonly heard: string[] = []
  connections = 0
  /** Write this often, then lose the link. */
  dieAtWrite = Number.POSITIVE_INFINITY
  /** So many connections say nothing after CHAL. */
  mute = 0
  refusesLinks = 0
  /** So many connections are told to wait once the phone has asked. */
  busy = 0
  /** So is whoever asks for more on a link. */
  busyAtMore = false
  said: Json

  constructor(said: Json) {
    this.said = said
  }

  connect(clock: HandClock): DoorLink {
    this.connections += 1
    if (this.refusesLinks > 0) {
      this.refusesLinks -= 1
      throw new LinkLostError('nobody there')
    }
    const lines = [...(this.said['frames'] as { from: string; frame: string }[])]
    const isMute = this.mute > 0
    if (isMute) this.mute -= 1
    const isBusy = this.busy > 0
    if (isBusy) this.busy -= 1
    const phone = new Assembler()
    const expected = new Assembler()
    const waiting: Bytes[] = []
    const say = (): void => { while (lines[0]?.from === 'lock') waiting.push(bytes(lines.shift()!.frame)) }
    say()
    let writes = 0
    let isLost = false
    return {
      write: async (frame) => {
        writes += 1
        if (writes >= this.dieAtWrite) { isLost = true; throw new LinkLostError('the link broke') }
        const message = phone.take(frame)
        if (message === null) return
        this.heard.push(hex(message))
        if (lines.length === 0) { isLost = true; throw new LinkLostError('the lock has gone') }
        let due: Bytes | null = null
        while (due === null) due = expected.take(bytes(lines.shift()!.frame))
        if (hex(message) !== hex(due)) throw new Error('the phone does not say what the vector says')
        if (isBusy || (this.busyAtMore && this.heard.at(-1)!.startsWith('03'))) waiting.push(bytes('c08f030a'))
        else if (!isMute) say()
      },
      read: async (waitMs) => {
        if (isLost) throw new LinkLostError('the link broke')
        const frame = waiting.shift()
        if (frame !== undefined) return frame
        clock.ms += waitMs
        return null
      },
      close: () => { isLost = true },
    }
  }
}

/** Passes in memory. */
export class StagePasses implements Passes {
  readonly kept = new Map<string, CryptoKey>()
  readonly told: (CryptoKey | null)[] = []

  async get(lock: string): Promise<CryptoKey | null> { return this.kept.get(lock) ?? null }

  async keep(lock: string, pass: CryptoKey | null): Promise<void> {
    this.told.push(pass)
    if (pass === null) this.kept.delete(lock)
    else this.kept.set(lock, pass)
  }
}

export class StageRadio implements DoorRadio {
  chosen = 0
  choosing: (() => Promise<void>) | null = null
  readonly #lock: ScriptedLock
  readonly #clock: HandClock

  constructor(lock: ScriptedLock, clock: HandClock) {
    this.#lock = lock
    this.#clock = clock
  }

  async availability(): Promise<'ready'> { return 'ready' }

  async choose(): Promise<DoorDevice> {
    this.chosen += 1
    await this.choosing?.()
    return { connect: async () => this.#lock.connect(this.#clock) }
  }
}

/** A browser that speaks Bluetooth as the specification has it. */
export class StageBluetooth extends EventTarget implements WebBluetooth {
  isOn = true
  asked: RequestOptions[] = []
  refuses: DOMException | null = null
  readonly device = new StageDevice()

  async getAvailability(): Promise<boolean> { return this.isOn }

  async requestDevice(options: RequestOptions): Promise<WebDevice> {
    this.asked.push(options)
    if (this.refuses !== null) throw this.refuses
    return this.device
  }

  switch(isOn: boolean): void {
    this.isOn = isOn
    this.dispatchEvent(new Event('availabilitychanged'))
  }
}

class StageCharacteristic extends EventTarget {
  value: DataView | undefined
  reads: Bytes[] = []
  readsAsked = 0
  written: Bytes[] = []
  writeFails: DOMException | null = null
  hangs = false
  notifyFails: DOMException | null = null

  async startNotifications(): Promise<this> {
    if (this.notifyFails !== null) throw this.notifyFails
    return this
  }

  /** The lock notifies. */
  notify(frame: Bytes): void {
    this.value = new DataView(frame.buffer)
    this.dispatchEvent(new Event('characteristicvaluechanged'))
  }

  async readValue(): Promise<DataView> {
    this.readsAsked += 1
    if (this.hangs) await new Promise(() => {})
    if (this.reads.length === 0) throw new DOMException('not permitted', 'NotSupportedError')
    const frame = this.reads.length > 1 ? this.reads.shift()! : this.reads[0]!
    this.notify(frame) // a read fires the same event
    return new DataView(frame.buffer)
  }

  async writeValueWithoutResponse(value: Bytes): Promise<void> {
    if (this.hangs) await new Promise(() => {})
    if (this.writeFails !== null) throw this.writeFails
    this.written.push(value)
  }
}

export class StageDevice extends EventTarget implements WebDevice {
  readonly tx = new StageCharacteristic()
  readonly rx = new StageCharacteristic()
  connectFails: DOMException | null = null
  neverConnects = false
  hasNoService = false
  adverts: Bytes[] = []
  disconnects = 0

  readonly gatt = {
    connected: false,
    connect: async () => {
      if (this.neverConnects) await new Promise(() => {})
      if (this.connectFails !== null) throw this.connectFails
      await Promise.resolve()
      return this.gatt
    },
    disconnect: () => { this.disconnects += 1 },
    getPrimaryService: async () => {
      if (this.hasNoService) throw new DOMException('no such service', 'NotFoundError')
      return { getCharacteristic: async (uuid: string) => (uuid.startsWith('1d9c5e01') ? this.tx : this.rx) }
    },
  }

  watchAdvertisements = async (): Promise<void> => {
    for (const data of this.adverts) {
      const event = Object.assign(new Event('advertisementreceived'), { serviceData: new Map([['1d9c5e00-7a4b-4c63-9e0f-6b0a86f4d2c1', new DataView(data.buffer)]]) })
      this.dispatchEvent(event)
    }
  }

  drop(): void {
    this.dispatchEvent(new Event('gattserverdisconnected'))
  }
}

export { bytes, cut, hex }
