/** The short way back in (protocols/door/SPEC.md 10), as the phone asks for it and falls back from it. */
import { deriving, hex, newEphemeral } from '@innkeeper/door'
import { describe, expect, it, vi } from 'vitest'
import { derive } from '../../door/src/primitives'
import { ephemeralOf, sign } from '../../door/tests/reference'
import { Opener } from '../src'
import { bundleAt, bytes, HandClock, ScriptedLock, StagePasses, StageRadio } from './stage'

const LOCK = '7733b6bf78f85549'
const FAST_BYTES = 26

async function stage(name: string) {
  const { bundle, door, said } = bundleAt(name)
  const clock = new HandClock()
  const lock = new ScriptedLock(said)
  const passes = new StagePasses()
  const secret = said['requests'][0].resumption as string | undefined
  if (secret !== undefined) passes.kept.set(LOCK, await deriving(bytes(secret)))
  const opener = new Opener({
    radio: new StageRadio(lock, clock),
    clock,
    sign: (statement) => sign(bytes(lock.said['phone_key_private']), statement),
    ephemeral: () => ephemeralOf(bytes(lock.said['random'].phone_ephemeral_private)),
  })
  const open = () => opener.open(bundle, door, () => {}, passes)
  return { clock, lock, opener, open, passes, bundle, door }
}

/** What it derives: a pass itself shows its bytes to nobody. */
const traceOf = async (pass: CryptoKey | undefined): Promise<string | null> => (pass === undefined ? null : hex(await derive(pass, bytes('00'), bytes('01'), 32)))
const traceOfBytes = async (secret: string): Promise<string | null> => (secret === '' ? null : traceOf(await deriving(bytes(secret))))

describe('coming back', () => {
  it('after a full exchange that opened, the lock is asked on the same link, once the guest has been told', async () => {
    const { open, lock, passes } = await stage('exchange_resume')
    expect(await open()).toMatchObject({ ending: 'opened', fast: false, tries: 1 })
    await vi.waitFor(() => expect(passes.kept.size).toBe(1))
    expect([lock.heard.length, lock.connections]).toEqual([2, 1])
    expect(await traceOf(passes.kept.get(LOCK))).toBe(await traceOfBytes(lock.said['resumption_after']))
    expect(passes.kept.get(LOCK)!.extractable).toBe(false)
  })

  it('without a place for passes nothing more is said to the lock', async () => {
    const { opener, lock, bundle, door } = await stage('exchange_resume')
    expect(await opener.open(bundle, door)).toMatchObject({ ending: 'opened' })
    await opener.leave()
    expect(lock.heard).toHaveLength(1)
  })

  it.each(['exchange_fast', 'exchange_fast_second', 'exchange_fast_answer_lost'])('%s: 26 bytes open, and the secret is replaced', async (name) => {
    const { open, lock, passes } = await stage(name)
    expect(await open()).toMatchObject({ ending: 'opened', fast: true, tries: 1 })
    expect(lock.heard.map((message) => message.length / 2)).toEqual([FAST_BYTES])
    expect(await traceOf(passes.kept.get(LOCK))).toBe(await traceOfBytes(lock.said['resumption_after']))
  })

  it.each([
    ['exchange_fast_unknown', 'opened', null],
    ['exchange_fast_spent', 'opened', null],
    ['exchange_fast_clock_lost', 'opened', null],
    ['exchange_fast_old', 'opened', null],
    ['exchange_fast_privacy', 'refused', 'privacy_on'],
    ['exchange_fast_expired', 'refused', 'expired'],
    ['exchange_fast_bumped', 'refused', 'superseded'],
  ])('%s: asked in full on the same link, %s', async (name, ending, cause) => {
    const { open, opener, lock, passes } = await stage(name)
    expect(await open()).toMatchObject({ ending, cause, fast: false, tries: 1 })
    await opener.leave()
    expect(lock.connections).toBe(1)
    expect(lock.heard[0]!.length / 2).toBe(FAST_BYTES)
    expect(passes.told[0]).toBeNull()
    expect(passes.kept.size).toBe(0)
  })

  it('an answer that was lost is asked for with the same secret, which the lock still knows', async () => {
    const { open, lock, passes } = await stage('exchange_fast_second')
    lock.mute = 1
    expect(await open()).toMatchObject({ ending: 'opened', fast: true, tries: 2 })
    expect(lock.heard.map((message) => message.length / 2)).toEqual([FAST_BYTES, FAST_BYTES])
    expect(passes.told).toHaveLength(1)
  })

  it('three answers lost: the secret is kept, and the guest told to try the handle', async () => {
    const { open, lock, passes } = await stage('exchange_fast_second')
    const before = passes.kept.get(LOCK)
    lock.mute = 9
    expect(await open()).toMatchObject({ ending: 'unknown', cause: 'no_answer' })
    expect(passes.kept.get(LOCK)).toBe(before)
  })

  it('a lock put back to firmware from before: asked in full on another link, within the same tap', async () => {
    const { open, lock, passes } = await stage('exchange_fast_unknown')
    const [challenge, fast, , ...rest] = lock.said['frames']
    const old = { ...lock.said, frames: [challenge, fast, { from: 'lock', frame: 'c08f0000' }] }
    const full = { ...lock.said, frames: [challenge, ...rest] }
    const connect = lock.connect.bind(lock)
    lock.connect = (clock) => {
      lock.said = lock.connections === 0 ? old : full
      return connect(clock)
    }
    expect(await open()).toMatchObject({ ending: 'opened', fast: false, tries: 2 })
    expect(passes.told[0]).toBeNull()
  })

  it('a lock that keeps no pass for this key is not asked a second time', async () => {
    const { open, opener, lock, passes, bundle, door } = await stage('exchange_resume_limited')
    await open()
    await vi.waitFor(() => expect(lock.heard).toHaveLength(2))
    await vi.waitFor(() => expect(passes.told).toHaveLength(1))
    await opener.leave()
    lock.said = { ...lock.said, frames: lock.said['frames'].slice(0, 4) } // the same opening, without RESUME: a further message would end it
    lock.heard.length = 0
    await opener.open({ ...bundle, certificate: bundle.certificate }, door, () => {}, passes).catch(() => null)
    await opener.leave()
    expect(lock.heard).toHaveLength(1)
    expect(passes.kept.size).toBe(0)
  })

  it('a link that breaks while the lock is asked leaves the door open and no pass', async () => {
    const { open, opener, lock, passes } = await stage('exchange_resume')
    lock.dieAtWrite = 8 // OPEN takes seven frames of 65 bytes
    expect(await open()).toMatchObject({ ending: 'opened' })
    await opener.leave()
    expect(passes.told).toEqual([])
  })

  it('the next tap does not wait for what is still said at the door before', async () => {
    const { open, opener, lock, clock, passes } = await stage('exchange_resume')
    const connect = lock.connect.bind(lock)
    let isClosed = false
    let release = (): void => {}
    lock.connect = (at) => {
      const link = connect(at)
      let writes = 0
      return {
        ...link,
        write: async (frame) => { writes += 1; await link.write(frame) },
        read: async (waitMs) => {
          if (writes < 8) return link.read(waitMs)
          await new Promise<void>((resolve) => { release = resolve })
          return link.read(waitMs)
        },
        close: () => { isClosed = true; link.close(); release() },
      }
    }
    expect(await open()).toMatchObject({ ending: 'opened' })
    await vi.waitFor(() => expect(lock.heard).toHaveLength(2))
    expect(isClosed).toBe(false)
    await opener.leave()
    expect([isClosed, passes.kept.size, clock.ms]).toEqual([true, 0, 0])
  })

  it('no public-key work is done to come back: the key is never asked to sign', async () => {
    const { lock, passes, bundle, door } = await stage('exchange_fast_second')
    const signing = vi.fn(async () => bytes('00'.repeat(64)))
    const opener = new Opener({ radio: new StageRadio(lock, new HandClock()), clock: new HandClock(), sign: signing, ephemeral: newEphemeral })
    expect(await opener.open(bundle, door, () => {}, passes)).toMatchObject({ ending: 'opened', fast: true })
    expect(signing).not.toHaveBeenCalled()
  })
})
