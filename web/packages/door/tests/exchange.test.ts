import { describe, expect, it } from 'vitest'
import { type Answer, CredentialRefusedError, LinkLostError, LocalProtocolError, newEphemeral, PeerProtocolError, PhoneExchange, ReplyTimeoutError, UnsupportedVersionError } from '../src'
import { hex } from '../src/bytes'
import { ephemeralOf } from './reference'
import { bytes, doorKeysOf, EXCHANGES, requestOf, vector } from './vectors'

async function phoneOf(name: string, frameBytes?: number): Promise<PhoneExchange> {
  const said = vector(`door/${name}`)
  return new PhoneExchange(doorKeysOf(said['phone_knows']), requestOf(said['requests'][0], said['phone_key_private']), {
    ephemeral: await ephemeralOf(bytes(said['random'].phone_ephemeral_private)),
    nowMs: 0,
    ...(frameBytes === undefined ? {} : { frameBytes }),
  })
}

const framesFrom = (name: string, from: 'lock' | 'phone'): string[] =>
  (vector(`door/${name}`)['frames'] as { from: string; frame: string }[]).filter((line) => line.from === from).map((line) => line.frame)

describe('the exchange', () => {
  it('has vectors to be held against', () => {
    expect(EXCHANGES.length).toBeGreaterThanOrEqual(33)
  })

  it.each(EXCHANGES)('%s: the phone says what the vector says, byte for byte', async (name) => {
    const said = vector(`door/${name}`)
    const phone = await phoneOf(name, said['frame_bytes'])
    const requests = said['requests'].slice(1)
    const outbox: string[] = []
    const answers: Answer[] = []
    for (const line of said['frames']) {
      if (line.from === 'phone') {
        expect(outbox.shift()).toBe(line.frame)
        continue
      }
      const answer = await phone.receive(bytes(line.frame), 1)
      if (answer !== null) {
        answers.push(answer)
        const next = requests.shift()
        if (next !== undefined) await phone.ask(requestOf(next, said['phone_key_private']), 1)
      }
      outbox.push(...phone.dataToSend().map(hex))
    }
    expect(outbox).toEqual([])
    expect(requests).toEqual([])
    expect(
      answers.map(({ result, sealed }) => ({
        status: result.status.toUpperCase(),
        audit_seq: result.auditSeq,
        time_s: result.timeS,
        time_quality: result.timeQuality,
        battery_percent: result.batteryPercent,
        bolt: ['unknown', 'locked', 'unlocked', 'not_fully_locked'].indexOf(result.bolt),
        revocation_seq: result.revocationSeq,
        generation: result.generation,
        chain_head: result.chainHead,
        sealed: hex(sealed),
      })),
    ).toEqual(said['answers'])
    expect(phone.deadlineMs).toBeNull()
    if (said['resumption_after'] !== undefined) expect(phone.resumption === null ? '' : hex(phone.resumption as Uint8Array)).toBe(said['resumption_after'])
  })

  it('cuts its frames as the lock cut its own, where nobody told it the size', async () => {
    for (const [name, longest] of [['exchange_open_cold', 65], ['exchange_open_mtu_23', 20]] as const) {
      const phone = await phoneOf(name)
      for (const frame of framesFrom(name, 'lock').slice(0, name.endsWith('23') ? 4 : 1)) await phone.receive(bytes(frame), 1)
      const sizes = phone.dataToSend().map((frame) => frame.length)
      expect(Math.max(...sizes)).toBe(longest)
    }
  })

  it('never says the same thing twice: another phone key, other bytes on the air', async () => {
    const [chal] = framesFrom('exchange_open_cold', 'lock')
    const said = vector('door/exchange_open_cold')
    const again = new PhoneExchange(doorKeysOf(said['phone_knows']), requestOf(said['requests'][0], said['phone_key_private']), { ephemeral: await newEphemeral(), nowMs: 0, frameBytes: 244 })
    await again.receive(bytes(chal!), 1)
    const frames = again.dataToSend().map(hex)
    expect(frames).toHaveLength(2)
    expect(frames).not.toEqual(framesFrom('exchange_open_cold', 'phone'))
  })
})

describe('a lock that is not what it should be', () => {
  const CHAL = framesFrom('exchange_open_cold', 'lock')[0]!
  const RESULT = framesFrom('exchange_open_cold', 'lock')[1]!

  const flipped = (frame: string, at: number): Uint8Array => bytes(frame).map((byte, index) => (index === (at + frame.length / 2) % (frame.length / 2) ? byte ^ 1 : byte))

  async function asked(): Promise<PhoneExchange> {
    const phone = await phoneOf('exchange_open_cold', 244)
    await phone.receive(bytes(CHAL), 1)
    expect(phone.state).toBe('asked')
    return phone
  }

  it.each([
    ['a RESULT with one bit flipped', (): Uint8Array => flipped(RESULT, -1), PeerProtocolError],
    ['a RESULT whose kind was changed', (): Uint8Array => flipped(RESULT, 1), PeerProtocolError],
    ['the RESULT of another exchange', (): Uint8Array => bytes(framesFrom('exchange_open_warm', 'lock')[1]!), PeerProtocolError],
    ['CHAL again', (): Uint8Array => bytes(CHAL), PeerProtocolError],
    ['a sealed message shorter than its tag', (): Uint8Array => bytes('c08100'), PeerProtocolError],
    ['an ERROR', (): Uint8Array => bytes('c08f0200'), PeerProtocolError],
    ['an ERROR without a code', (): Uint8Array => bytes('c08f'), PeerProtocolError],
    ['busy', (): Uint8Array => bytes('c08f0307'), CredentialRefusedError],
    ['an empty frame', (): Uint8Array => new Uint8Array(0), PeerProtocolError],
    ['a frame out of sequence', (): Uint8Array => bytes('0500'), PeerProtocolError],
  ])('is left at %s, and never believed', async (_, frame, kind) => {
    const phone = await asked()
    await expect(phone.receive(frame(), 2)).rejects.toBeInstanceOf(kind)
    expect(phone.state).toBe('over')
    expect(phone.deadlineMs).toBeNull()
    await expect(phone.receive(bytes(RESULT), 3)).rejects.toThrow('after the end')
    await expect(phone.ask({ kind: 'status' }, 3)).rejects.toBeInstanceOf(LocalProtocolError)
  })

  it.each([
    ['another version', flipped(CHAL, 1), UnsupportedVersionError],
    ['another suite', flipped(CHAL, 2), UnsupportedVersionError],
    ['a key off the curve', (() => { const frame = bytes(CHAL); frame.fill(0xff, 33); frame[32] = 2; return frame })(), PeerProtocolError],
    ['a quality of time that does not exist', (() => { const frame = bytes(CHAL); frame[7] = 3; return frame })(), PeerProtocolError],
    ['a byte too few', bytes(CHAL).slice(0, -1), PeerProtocolError],
    ['a week that the phone has no keys of', (() => { const frame = bytes(CHAL); frame[3] = 0x7b; return frame })(), CredentialRefusedError],
  ])('a CHAL of %s is answered with nothing', async (_, frame, kind) => {
    const phone = await phoneOf('exchange_open_cold', 244)
    await expect(phone.receive(frame, 1)).rejects.toBeInstanceOf(kind)
    expect(phone.dataToSend()).toEqual([])
    expect(phone.state).toBe('over')
  })

  it('uses the fallback key while the lock has lost its clock, whatever time it says', async () => {
    const phone = await phoneOf('exchange_time', 244)
    await phone.receive(bytes(framesFrom('exchange_time', 'lock')[0]!), 1)
    expect(phone.dataToSend().map(hex)).toEqual([framesFrom('exchange_time', 'phone')[0]])
  })

  it('never challenged: nothing was asked. Challenged and silent: the door may have opened', async () => {
    const silent = await phoneOf('exchange_open_cold')
    silent.onTime(2_999)
    expect(() => silent.onTime(3_000)).toThrow(LinkLostError)
    silent.onTime(9_000)
    const mute = await asked()
    mute.onTime(3_000)
    expect(() => mute.onTime(3_001)).toThrow(ReplyTimeoutError)
    const late = await asked()
    await expect(late.receive(bytes(RESULT), 3_001)).rejects.toBeInstanceOf(ReplyTimeoutError)
    expect(new ReplyTimeoutError('').mayHaveTakenEffect && !new LinkLostError('').mayHaveTakenEffect && new LinkLostError('').retryable).toBe(true)
  })

  it.each(['c08f0000', 'c08f0200', 'c08fc800', 'c08f'])('an ERROR to FAST other than need full (%s) is no answer: the door may be open, and the secret is forgotten', async (frame) => {
    const phone = await phoneOf('exchange_fast_second', 244)
    expect(phone.resumption).not.toBeNull()
    await phone.receive(bytes(framesFrom('exchange_fast_second', 'lock')[0]!), 1)
    expect(phone.state).toBe('asked_fast')
    await expect(phone.receive(bytes(frame), 2)).rejects.toBeInstanceOf(ReplyTimeoutError)
    expect(phone.resumption).toBeNull()
    expect(phone.state).toBe('over')
  })

  it('FAST unanswered: the door may be open, and the secret is kept, because the lock may not have heard', async () => {
    const phone = await phoneOf('exchange_fast_second', 244)
    const before = hex(phone.resumption as Uint8Array)
    await phone.receive(bytes(framesFrom('exchange_fast_second', 'lock')[0]!), 1)
    expect(() => phone.onTime(3_001)).toThrow(ReplyTimeoutError)
    expect(hex(phone.resumption as Uint8Array)).toBe(before)
  })

  it('a RESULT to FAST with one bit flipped is not believed', async () => {
    const phone = await phoneOf('exchange_fast_second', 244)
    await phone.receive(bytes(framesFrom('exchange_fast_second', 'lock')[0]!), 1)
    await expect(phone.receive(flipped(framesFrom('exchange_fast_second', 'lock')[1]!, -1), 2)).rejects.toBeInstanceOf(PeerProtocolError)
  })

  it('two frames at once are our own mistake, not the lock\'s', async () => {
    const phone = await phoneOf('exchange_open_cold')
    const first = phone.receive(bytes(CHAL), 1)
    await expect(phone.receive(bytes(RESULT), 1)).rejects.toBeInstanceOf(LocalProtocolError)
    await first
    expect(phone.state).toBe('asked')
  })

  it('no noise raises anything but an error of the peer, or is believed', async () => {
    let state = 0x2545f491
    const random = (): number => { state ^= state << 13; state ^= state >>> 17; state ^= state << 5; return state >>> 0 }
    const ephemeral = await newEphemeral()
    const door = doorKeysOf(vector('door/exchange_open_cold')['phone_knows'])
    for (let round = 0; round < 300; round += 1) {
      const phone = new PhoneExchange(door, { kind: 'status' }, { ephemeral, nowMs: 0 })
      if (round % 2 === 1) await phone.receive(bytes(CHAL), 1)
      const noise = Uint8Array.from({ length: random() % 90 }, () => random() & 0xff)
      if (round % 3 === 0 && noise.length > 1) noise.set([0xc0, round % 2 === 0 ? 1 : 0x81])
      const answer = await phone.receive(noise, 1).catch((error: unknown) => {
        expect(error instanceof PeerProtocolError || error instanceof CredentialRefusedError).toBe(true)
        return null
      })
      expect(answer).toBeNull()
    }
  })
})
