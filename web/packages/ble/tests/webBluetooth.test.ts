import { type Bytes, LinkLostError, PeerProtocolError } from '@innkeeper/door'
import { describe, expect, it, vi } from 'vitest'
import { NotChosenError, OtherDoorError, RadioOffError, webBluetooth, WebRadio } from '../src'
import { AT_S, bundleAt, bytes, hex, StageBluetooth } from './stage'

const { door } = bundleAt('exchange_open_cold')
const FRAME = bytes('c0aabb')
const NEXT = bytes('c0ccdd')

async function linked(prepare: (bluetooth: StageBluetooth) => void = () => {}) {
  const bluetooth = new StageBluetooth()
  prepare(bluetooth)
  const device = await new WebRadio(bluetooth).choose(door.keys, AT_S)
  const link = await device.connect(1_000)
  return { bluetooth, link, ...bluetooth.device, rx: bluetooth.device.rx, tx: bluetooth.device.tx }
}

describe('the choice', () => {
  it('asks for the ids that this door may show now, and for nothing else', async () => {
    const bluetooth = new StageBluetooth()
    await new WebRadio(bluetooth).choose(door.keys, AT_S)
    const [{ filters }] = bluetooth.asked as [StageBluetooth['asked'][number]]
    expect(filters.every(({ services }) => services.join() === '1d9c5e00-7a4b-4c63-9e0f-6b0a86f4d2c1')).toBe(true)
    const prefixes = filters.map(({ serviceData }) => hex(serviceData![0]!.dataPrefix))
    expect(prefixes).toContain('01e846592685b09680')
    expect(prefixes).toContain('01ece82c05b17ec1db')
    expect(new Set(prefixes).size).toBe(6) // two slots to each side, and the fallback id
  })

  it.each<[string, string, boolean, unknown]>([
    ['a list that was closed', 'NotFoundError', true, NotChosenError],
    ['no adapter', 'NotFoundError', false, RadioOffError],
    ['a site that may not', 'SecurityError', true, RadioOffError],
  ])('%s', async (_, name, isOn, kind) => {
    const bluetooth = new StageBluetooth()
    bluetooth.isOn = isOn
    bluetooth.refuses = new DOMException('no', name)
    await expect(new WebRadio(bluetooth).choose(door.keys, AT_S)).rejects.toBeInstanceOf(kind)
  })

  it('says whether there is Bluetooth, and when that changes', async () => {
    expect(await new WebRadio(null).availability()).toBe('unsupported')
    await expect(new WebRadio(null).choose(door.keys, AT_S)).rejects.toBeInstanceOf(RadioOffError)
    expect(webBluetooth({})).toBeNull()
    const bluetooth = new StageBluetooth()
    expect(webBluetooth({ bluetooth })).toBe(bluetooth)
    const radio = new WebRadio(bluetooth)
    const changed = vi.fn()
    const stop = radio.onAvailability(changed)
    bluetooth.switch(false)
    expect(await radio.availability()).toBe('off')
    stop()
    bluetooth.switch(true)
    expect(changed).toHaveBeenCalledTimes(1)
  })
})

describe('the link', () => {
  it('hears notifications in their order and reads nothing then', async () => {
    const { link, rx } = await linked()
    rx.notify(FRAME)
    rx.notify(NEXT)
    expect(await link.read(1_000)).toEqual(FRAME)
    expect(await link.read(1_000)).toEqual(NEXT)
    expect(rx.readsAsked).toBe(0)
    link.close()
  })

  it('reads where no notification comes, each frame once', async () => {
    const { link, rx } = await linked()
    rx.reads = [new Uint8Array(0), FRAME, FRAME, NEXT]
    expect(await link.read(2_000)).toEqual(FRAME)
    expect(await link.read(2_000)).toEqual(NEXT)
    expect(await link.read(150)).toBeNull()
    link.close()
  })

  it('a notification that a read overtook is not heard twice', async () => {
    const { link, rx } = await linked()
    rx.reads = [FRAME]
    expect(await link.read(2_000)).toEqual(FRAME)
    rx.notify(FRAME)
    rx.notify(NEXT)
    expect(await link.read(100)).toEqual(NEXT)
    link.close()
  })

  it('a lock that may not be read is waited for', async () => {
    const { link, rx } = await linked()
    const heard = link.read(2_000)
    setTimeout(() => rx.notify(FRAME), 480)
    expect(await heard).toEqual(FRAME)
    link.close()
  })

  it('writes one frame a write, and says when it could not', async () => {
    const { link, tx } = await linked()
    await link.write(FRAME)
    expect(tx.written).toEqual([FRAME])
    tx.writeFails = new DOMException('GATT operation failed', 'NetworkError')
    await expect(link.write(NEXT)).rejects.toBeInstanceOf(LinkLostError)
    link.close()
  })

  it('a link that breaks ends the waiting, but what was heard before it counts', async () => {
    const { link, rx, bluetooth } = await linked()
    rx.notify(FRAME)
    const waiting = (async () => [await link.read(5_000), await link.read(5_000).catch((error: unknown) => error)])()
    await Promise.resolve()
    bluetooth.device.drop()
    const [first, second] = await waiting
    expect(first).toEqual(FRAME)
    expect(second).toBeInstanceOf(LinkLostError)
    await expect(link.write(NEXT)).rejects.toBeInstanceOf(LinkLostError)
    link.close()
  })

  it('an operation that the browser never ends is a lost link', async () => {
    vi.useFakeTimers()
    const { link, tx, rx } = await linked()
    tx.hangs = true
    const writing = expect(link.write(FRAME)).rejects.toBeInstanceOf(LinkLostError)
    await vi.advanceTimersByTimeAsync(2_000)
    await writing
    const other = await linked()
    other.rx.hangs = true
    const reading = expect(other.link.read(3_000)).rejects.toBeInstanceOf(LinkLostError)
    await vi.advanceTimersByTimeAsync(2_400)
    await reading
    expect(rx.readsAsked).toBe(0)
    vi.useRealTimers()
  })

  it('a read that the broken link swallowed ends with the link', async () => {
    const { link, rx, bluetooth } = await linked()
    rx.hangs = true
    const reading = expect(link.read(60_000)).rejects.toBeInstanceOf(LinkLostError)
    await vi.waitFor(() => expect(rx.readsAsked).toBe(1))
    bluetooth.device.drop()
    await reading
  })

  it('a lock that floods is left', async () => {
    const { link, rx } = await linked()
    for (let at = 0; at < 200; at += 1) rx.notify(Uint8Array.of(0xc0, at))
    let heard = 0
    await expect((async () => { for (;;) { await link.read(50); heard += 1 } })()).rejects.toBeInstanceOf(LinkLostError)
    expect(heard).toBeLessThanOrEqual(64)
    link.close()
  })

  it('lets go of the device when it closes', async () => {
    const { link, rx, bluetooth } = await linked()
    link.close()
    expect(bluetooth.device.disconnects).toBe(1)
    rx.notify(FRAME)
    await expect(link.read(0)).rejects.toBeInstanceOf(LinkLostError)
  })

  it('whoever still reads is told at once that it was closed', async () => {
    const { link } = await linked()
    const reading = link.read(60_000)
    link.close()
    await expect(reading).rejects.toBeInstanceOf(LinkLostError)
  })
})

describe('connecting', () => {
  const failing = async (prepare: (bluetooth: StageBluetooth) => void, waitMs = 500): Promise<unknown> => {
    const bluetooth = new StageBluetooth()
    prepare(bluetooth)
    const device = await new WebRadio(bluetooth).choose(door.keys, AT_S)
    const error = await device.connect(waitMs).catch((caught: unknown) => caught)
    expect(bluetooth.device.disconnects).toBe(1)
    return error
  }

  it('to nobody is a lost link; to something without our service is no lock', async () => {
    expect(await failing((bluetooth) => { bluetooth.device.connectFails = new DOMException('out of range', 'NetworkError') })).toBeInstanceOf(LinkLostError)
    expect(await failing((bluetooth) => { bluetooth.device.hasNoService = true })).toBeInstanceOf(PeerProtocolError)
    expect(await failing((bluetooth) => { bluetooth.device.neverConnects = true }, 20)).toBeInstanceOf(LinkLostError)
    expect(await failing((bluetooth) => { bluetooth.device.rx.notifyFails = new DOMException('no', 'NotSupportedError') })).toBeInstanceOf(LinkLostError)
  })

  it.each<[string, Bytes, boolean]>([
    ['the door itself', bytes('01e846592685b0968000'), true],
    ['the door without a clock', bytes('01ece82c05b17ec1db02'), true],
    ['noise', bytes('07'), true],
    ['another door', bytes('01000000000000000000'), false],
  ])('where the browser shows adverts: %s', async (_, advert, isRight) => {
    const bluetooth = new StageBluetooth()
    bluetooth.device.adverts = [advert]
    const device = await new WebRadio(bluetooth).choose(door.keys, AT_S)
    const error = await device.connect(500).then(() => null, (caught: unknown) => caught)
    if (isRight) expect(error).toBeNull()
    else expect(error).toBeInstanceOf(OtherDoorError)
  })
})
