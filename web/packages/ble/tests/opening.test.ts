import { describe, expect, it } from 'vitest'
import { ephemeralOf, sign } from '../../door/tests/reference'
import { type Phase, NotChosenError, Opener, RadioOffError } from '../src'
import { bundleAt, bytes, HandClock, ScriptedLock, StageRadio } from './stage'

async function stage(name: string) {
  const { bundle, door, said } = bundleAt(name)
  const clock = new HandClock()
  const lock = new ScriptedLock(said)
  const radio = new StageRadio(lock, clock)
  const opener = new Opener({
    radio,
    clock,
    sign: (statement) => sign(bytes(lock.said['phone_key_private']), statement),
    ephemeral: () => ephemeralOf(bytes(lock.said['random'].phone_ephemeral_private)),
  })
  if (said['requests'][0].form !== 0) {
    // The vector begins with the certificate's id: this phone has opened the door before.
    lock.said = bundleAt('exchange_open_cold').said
    expect(await opener.open({ ...bundle, grant: bundleAt('exchange_open_cold').bundle.grant }, door)).toMatchObject({ ending: 'opened' })
    lock.said = said
    lock.connections = 0
    lock.heard.length = 0
  }
  const phases: Phase[] = []
  const open = () => opener.open(bundle, door, (phase) => phases.push(phase))
  return { clock, lock, radio, open, phases }
}

describe('opening a door', () => {
  it('says how far it is, and what the lock said', async () => {
    const { open, phases, lock } = await stage('exchange_open_cold')
    const opening = await open()
    expect(opening).toMatchObject({ ending: 'opened', door: 'door-101', tries: 1, cause: null, result: { status: 'opened', batteryPercent: 87, bolt: 'locked' } })
    expect(phases).toEqual(['choosing', 'connecting', 'asking', 'opening'])
    expect(lock.heard).toHaveLength(1)
  })

  it.each([
    ['exchange_refused_expired', 'expired'],
    ['exchange_refused_not_yet', 'not_yet_valid'],
    ['exchange_refused_privacy', 'privacy_on'],
    ['exchange_refused_stranger', 'bad_signature'],
    ['exchange_refused_superseded', 'superseded'],
    ['exchange_refused_used_up', 'used_up'],
    ['exchange_refused_wrong_door', 'wrong_door'],
  ])('%s is a refusal with its reason, asked once', async (name, reason) => {
    const { open, lock } = await stage(name)
    expect(await open()).toMatchObject({ ending: 'refused', cause: reason, tries: 1 })
    expect(lock.connections).toBe(1)
  })

  it('brings the certificate by its id to a lock that knows it', async () => {
    const { open, lock } = await stage('exchange_open_warm')
    expect(await open()).toMatchObject({ ending: 'opened', tries: 1 })
    expect(lock.heard.map((message) => message.length / 2)).toEqual([292])
  })

  it('brings it whole on the same link to a lock that has forgotten', async () => {
    const { open, lock } = await stage('exchange_open_warm_unknown')
    expect(await open()).toMatchObject({ ending: 'opened', tries: 1 })
    expect([lock.heard.length, lock.connections]).toEqual([2, 1])
  })

  it('does not let the guest choose again while the lock still shows the same address', async () => {
    const { open, radio, clock } = await stage('exchange_open_cold')
    await open()
    expect(radio.chosen).toBe(1)
    await open().catch(() => null)
    expect(radio.chosen).toBe(1)
    clock.ms += 512_000
    await open().catch(() => null)
    expect(radio.chosen).toBe(2)
  })

  it('tries again what never reached the lock', async () => {
    const { open, lock } = await stage('exchange_open_cold')
    lock.refusesLinks = 2
    expect(await open()).toMatchObject({ ending: 'opened', tries: 3 })
  })

  it('gives up after three, and says that nobody answered', async () => {
    const { open, lock } = await stage('exchange_open_cold')
    lock.refusesLinks = 9
    expect(await open()).toMatchObject({ ending: 'failed', cause: 'out_of_reach', tries: 3 })
    expect(lock.connections).toBe(3)
  })

  it('a lock that was reached once and then not again is not called out of reach', async () => {
    const { open, lock, clock } = await stage('exchange_open_cold')
    lock.dieAtWrite = 3
    clock.sleep = async () => { lock.refusesLinks = 9 }
    expect(await open()).toMatchObject({ ending: 'failed', cause: 'link_lost', tries: 3 })
    expect(lock.connections).toBe(3)
  })

  it('a link that broke in the middle of the message has asked nothing: it is tried again', async () => {
    const { open, lock } = await stage('exchange_open_cold')
    lock.dieAtWrite = 3
    expect(await open()).toMatchObject({ ending: 'failed', cause: 'link_lost', tries: 3 })
    expect(lock.heard).toEqual([])
  })

  it('a link that broke at the last frame may have opened: it is asked again, and never called a failure', async () => {
    const { open, lock } = await stage('exchange_open_cold')
    lock.dieAtWrite = 7 // 441 bytes in frames of 65
    expect(await open()).toMatchObject({ ending: 'unknown', cause: 'no_answer', tries: 3 })
    expect(lock.connections).toBe(3)
  })

  it('a lock that was asked and says nothing may have opened; asked again it may answer', async () => {
    const mute = await stage('exchange_open_cold')
    mute.lock.mute = 9
    expect(await mute.open()).toMatchObject({ ending: 'unknown', cause: 'no_answer', tries: 3 })
    expect(mute.clock.ms).toBe(9_000)
    const once = await stage('exchange_open_cold')
    once.lock.mute = 1
    expect(await once.open()).toMatchObject({ ending: 'opened', tries: 2 })
  })

  it('a lock that is busy is asked again in the same tap, beside the tries over broken links', async () => {
    const { open, lock, clock } = await stage('exchange_open_cold')
    lock.busy = 15
    expect(await open()).toMatchObject({ ending: 'opened', tries: 16 })
    expect(clock.ms).toBe(15 * 250)
  })

  it('broken links between are still three at most, and waited for as ever', async () => {
    const { open, lock } = await stage('exchange_open_cold')
    lock.busy = 4
    const connect = lock.connect.bind(lock)
    lock.connect = (at) => { if (lock.connections % 2 === 1 && lock.connections < 4) lock.refusesLinks = 1; return connect(at) }
    expect(await open()).toMatchObject({ ending: 'opened', tries: 7 })
  })

  it('a lock that stays busy says so to the guest in the end, and a slow one within the time of a tap', async () => {
    const { open, lock } = await stage('exchange_open_cold')
    lock.busy = 99
    expect(await open()).toMatchObject({ ending: 'refused', cause: 'busy', tries: 16 })
    const slow = await stage('exchange_open_cold')
    slow.lock.busy = 99
    const connect = slow.lock.connect.bind(slow.lock)
    slow.lock.connect = (at) => { slow.clock.ms += 2_000; return connect(at) }
    expect(await slow.open()).toMatchObject({ ending: 'refused', cause: 'busy', tries: 6 })
  })

  it('a certificate asked for in a pause is brought at the next try', async () => {
    const { open, lock } = await stage('exchange_open_warm_unknown')
    lock.busyAtMore = true
    const connect = lock.connect.bind(lock)
    lock.connect = (at) => { if (lock.connections === 1) lock.said = bundleAt('exchange_open_cold').said; return connect(at) }
    expect(await open()).toMatchObject({ ending: 'opened', tries: 2 })
  })

  it('busy after a lost answer says nothing about the door: it is asked again, and else unknown', async () => {
    const { open, lock } = await stage('exchange_open_cold')
    lock.mute = 1
    const connect = lock.connect.bind(lock)
    lock.connect = (at) => { lock.busy = lock.connections > 0 ? 9 : 0; return connect(at) }
    expect(await open()).toMatchObject({ ending: 'unknown', cause: 'no_answer' })
    const once = await stage('exchange_open_cold')
    once.lock.mute = 1
    const again = once.lock.connect.bind(once.lock)
    once.lock.connect = (at) => { once.lock.busy = once.lock.connections === 1 ? 1 : 0; return again(at) }
    expect(await once.open()).toMatchObject({ ending: 'opened', tries: 3 })
  })

  it.each([
    ['exchange_refused_used_up', 'unknown', 'no_answer'], // perhaps by the try whose answer was lost
    ['exchange_refused_superseded', 'refused', 'superseded'],
    ['exchange_refused_privacy', 'refused', 'privacy_on'],
  ])('after a lost answer, %s is %s: %s', async (name, ending, cause) => {
    const { open, lock } = await stage(name)
    lock.mute = 1
    expect(await open()).toMatchObject({ ending, cause })
  })

  it('after a lost answer, a lock that cannot be reached any more is no proof that it stayed shut', async () => {
    const { open, lock } = await stage('exchange_open_cold')
    lock.mute = 1
    const connect = lock.connect.bind(lock)
    lock.connect = (at) => { if (lock.connections === 1) lock.refusesLinks = 9; return connect(at) }
    expect(await open()).toMatchObject({ ending: 'unknown', cause: 'no_answer', tries: 3 })
  })

  it('waits before it tries again: what was just lost is back a little later', async () => {
    const { open, clock, lock } = await stage('exchange_open_cold')
    const connect = lock.connect.bind(lock)
    lock.connect = (at) => {
      if (clock.ms < 1_200) lock.refusesLinks = 1
      return connect(at)
    }
    expect(await open()).toMatchObject({ ending: 'opened', tries: 3 })
  })

  it('ends within its time, however slow the air', async () => {
    const { open, clock, lock } = await stage('exchange_open_cold')
    lock.refusesLinks = 9
    const connect = lock.connect.bind(lock)
    lock.connect = (at) => { clock.ms += 6_500; return connect(at) }
    expect(await open()).toMatchObject({ ending: 'failed', tries: 2 })
  })

  it.each([
    [new NotChosenError('closed'), 'not_chosen'],
    [new RadioOffError('off'), 'bluetooth_off'],
  ])('%s: nothing was asked, and the guest is told', async (error, cause) => {
    const { open, radio, lock } = await stage('exchange_open_cold')
    radio.choosing = () => Promise.reject(error)
    expect(await open()).toMatchObject({ ending: 'failed', cause, tries: 0 })
    expect(lock.connections).toBe(0)
  })

  it('our own defects are not dressed up as the air', async () => {
    const { open, radio } = await stage('exchange_open_cold')
    radio.choosing = () => Promise.reject(new TypeError('ours'))
    await expect(open()).rejects.toThrow('ours')
  })
})
