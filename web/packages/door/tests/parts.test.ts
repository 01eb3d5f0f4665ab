import { describe, expect, it } from 'vitest'
import { bundleOf, CredentialRefusedError, decodeAdvert, equal, fallbackId, idsAround, InvalidInputError, issuerKid, newPhoneKey, PeerProtocolError, pointOf, readGrant, readIssuer, shows, signEs256, UnsupportedVersionError } from '../src'
import { gateKey, rotatingId } from '../src/advert'
import { base64, base64Url, fromBase64, fromBase64Url, fromHex, hex, utf8 } from '../src/bytes'
import { decode, encode } from '../src/cbor'
import { parse1, toBeSigned, verify1 } from '../src/cose'
import { Assembler, cut } from '../src/frames'
import { decodeResult, encodeFetch } from '../src/messages'
import { compressed, uncompressed } from '../src/point'
import { verifyEs256 } from '../src/primitives'
import { isRefusal, statusOf } from '../src/status'
import { REFUSAL_REASONS } from '../src/errors'
import { ephemeralOf, sign } from './reference'
import { bytes, cases, digits, type Json, labels, vector } from './vectors'

describe('frames', () => {
  it.each(cases('door/frames', 'cut'))('a message in frames of $frame_bytes', ({ message, frame_bytes, frames }) => {
    expect(cut(bytes(message), frame_bytes).map(hex)).toEqual(frames)
    const assembler = new Assembler()
    expect(frames.map((frame: string) => assembler.take(bytes(frame))).at(-1)).toEqual(bytes(message))
  })

  it.each(cases('door/frames', 'refused'))('refuses $name', ({ frames }) => {
    const assembler = new Assembler()
    for (const frame of frames.slice(0, -1)) expect(assembler.take(bytes(frame))).toBeNull()
    expect(() => assembler.take(bytes(frames.at(-1)))).toThrow(PeerProtocolError)
  })

  it('cuts nothing empty, too long or too small', () => {
    expect(() => cut(new Uint8Array(0), 20)).toThrow('0 bytes')
    expect(() => cut(new Uint8Array(1025), 20)).toThrow('1025 bytes')
    expect(() => cut(new Uint8Array(1), 19)).toThrow('19 bytes')
    expect(cut(new Uint8Array(1024), 5_000).map((frame) => frame.length)).toEqual([512, 512, 3])
  })
})

describe('adverts', () => {
  const said = vector('door/adverts')
  const weeks = new Map<number, ReturnType<typeof bytes>>(said['weeks'].map((each: { week: number; eik: string }) => [each.week, bytes(each.eik)]))
  const lockId = bytes(said['lock'].lock)
  const door = { lockId, sLock: new Uint8Array(33), eikByWeek: weeks, fallback: bytes(said['fallback'].key) }

  it.each(cases('door/adverts', 'ids'))('at $at_s shows $id', async ({ at_s, week, id, gate_key }) => {
    expect(hex(await rotatingId(weeks.get(week)!, at_s))).toBe(id)
    expect(hex(await gateKey(weeks.get(week)!, lockId, at_s))).toBe(gate_key)
    const near = said['ids'].filter((each: { at_s: number }) => Math.abs(each.at_s - at_s) < 512).map((each: { id: string }) => each.id)
    expect(near).toContain(id)
    expect((await idsAround(door, at_s)).map(hex)).toEqual(expect.arrayContaining(near))
  })

  it.each(cases('door/adverts', 'adverts'))('$name is recognised by who holds the keys, by nobody else', async ({ service_data, bits }) => {
    const advert = decodeAdvert(bytes(service_data))
    expect(Number(advert.batteryLow) + 2 * Number(advert.timeUncertain) + 4 * Number(advert.wantsSync) + 8 * Number(advert.privacyOn)).toBe(bits)
    expect(await shows(door, advert, said['ids'][0].at_s)).toBe(true)
    const stranger = { ...door, eikByWeek: new Map([[2976, new Uint8Array(16)]]), fallback: new Uint8Array(16) }
    expect(await shows(stranger, advert, said['ids'][0].at_s)).toBe(false)
  })

  it('the fallback id is fixed, and a slot further than two is not known', async () => {
    expect(hex(await fallbackId(door.fallback))).toBe(said['fallback'].id)
    const advert = decodeAdvert(bytes(said['adverts'][0].service_data))
    expect(await shows(door, advert, said['ids'][0].at_s + 3 * 512)).toBe(false)
    expect(await shows(door, advert, said['ids'][0].at_s + 2 * 512)).toBe(true)
  })

  it.each([['', PeerProtocolError], ['02e846592685b0968000', UnsupportedVersionError], ['01e846592685b09680', PeerProtocolError]])('refuses %j', (data, kind) => {
    expect(() => decodeAdvert(bytes(data))).toThrow(kind)
  })
})

describe('grants', () => {
  it.each(cases('grant/grants', 'grants'))('$name', async ({ issuer, says, encoded }) => {
    const grant = await readGrant(bytes(encoded), await readIssuer(bytes(issuer)))
    const flags = Number(grant.isJoiner) + 2 * Number(grant.isOneShot) + 4 * Number(grant.overridesPrivacy) + 8 * Number(grant.mayLatch) + 16 * Number(grant.needsUserVerification) + 32 * Number(grant.isEmergency) + 128 * Number(grant.isStaff)
    expect(says).toMatchObject({
      grant_id: grant.grantId, issued_at_s: grant.issuedAtS, not_before_s: grant.notBeforeS, not_after_s: grant.notAfterS,
      phone: hex(grant.phone), rooms: grant.rooms, ranges: grant.ranges, generation: grant.generation, uses_most: grant.usesMost, life_hours: grant.lifeHours,
      shift: grant.shift && { days: grant.shift.days, from_minute: grant.shift.fromMinute, to_minute: grant.shift.toMinute },
    })
    expect(flags).toBe(says.flags)
    expect(grant.approvals.map(({ kid, signature }) => ({ kid: hex(kid), signature: hex(signature) }))).toEqual(says.approvals)
    expect(hex(issuerKid(bytes(encoded)))).toBe(hex((await readIssuer(bytes(issuer))).kid))
  })

  it('hold every bit of their zones, also those that no number of JavaScript holds', async () => {
    const zones = await Promise.all(cases('grant/grants', 'grants').map(async ({ issuer, encoded }) => (await readGrant(bytes(encoded), await readIssuer(bytes(issuer)))).zones))
    expect(zones).toEqual(digits('grant/grants', 'zones'))
    expect(zones).toContain(2n ** 64n - 1n)
  })

  it.each(cases('grant/grants', 'refused'))('refuses $name', async ({ issuer, encoded, reason }) => {
    const read = async (): Promise<unknown> => readGrant(bytes(encoded), await readIssuer(bytes(issuer)))
    await expect(read()).rejects.toEqual(new CredentialRefusedError(reason))
  })

  it.each(cases('grant/certificates', 'certificates'))('the certificate of $name names its key', async ({ encoded, kid, ...told }) => {
    const issuer = await readIssuer(bytes(encoded))
    expect([hex(issuer.kid), hex(issuer.point), issuer.issuerClass]).toEqual([kid, told.public, told.class])
    expect(issuer.officers.map(hex)).toEqual(told.officers)
  })

  it.each(cases('grant/certificates', 'refused').filter(({ reason }) => ['malformed', 'unsupported_version'].includes(reason)))('a certificate with $name is refused', async ({ encoded, reason }) => {
    await expect(readIssuer(bytes(encoded))).rejects.toEqual(new CredentialRefusedError(reason))
  })
})

describe('the bundle', () => {
  const document = (): Json => structuredClone(vector('door/bundle')['bundle'])

  it('is read as the vector says', () => {
    const bundle = bundleOf(document())
    expect(labels(bundle.doors)).toEqual(['Room 101', 'Pool'])
    expect(base64(bundle.grant)).toBe(document()['grant'])
    expect(bundle.notAfterMs).toBe(1_800_259_200_000)
    expect(hex(bundle.doors[1]!.keys.eikByWeek.get(2976)!)).toBe('bed2549b298a94780e4ab4898db80ac5')
  })

  it.each<[string, (broken: Json) => void, string]>([
    ['no doors', (broken) => delete broken['doors'], 'bundle: not a bundle'],
    ['65 doors', (broken) => (broken['doors'] = Array.from({ length: 65 }, () => broken['doors'][0])), 'bundle: not a bundle'],
    ['a grant that is not base64', (broken) => (broken['grant'] = 'h?'), 'bundle: grant: not base64'],
    ['a time that is text', (broken) => (broken['not_after_ms'] = '1'), 'bundle: not a bundle'],
    ['a time that is not whole', (broken) => (broken['not_after_ms'] = 1.5), 'bundle: not a bundle'],
    ['a lock id too short', (broken) => (broken['doors'][0].lock = '77'), 'bundle: doors[0]: lock: not 8 bytes'],
    ['a static key off the curve', (broken) => (broken['doors'][0].s_lock = `02${'ff'.repeat(32)}`), 'doors[0]: s_lock'],
    ['a week that is no number', (broken) => (broken['doors'][1].eik = { '-1': '00'.repeat(16) }), 'doors[1]: eik'],
    ['nine weeks', (broken) => (broken['doors'][1].eik = Object.fromEntries(Array.from({ length: 9 }, (_, at) => [at, '00'.repeat(16)]))), 'keys of 9 weeks'],
    ['no label', (broken) => (broken['doors'][1].label = ''), 'doors[1]: label'],
    ['a label that fills the page', (broken) => (broken['doors'][1].label = 'x'.repeat(81)), 'doors[1]: label'],
  ])('with %s is refused by name', (_, damage, place) => {
    const broken = document()
    damage(broken)
    expect(() => bundleOf(broken)).toThrow(InvalidInputError)
    expect(() => bundleOf(broken)).toThrow(place)
  })

  it('of a later version is refused as such, and nonsense as nonsense', () => {
    expect(() => bundleOf({ v: 2 })).toThrow(UnsupportedVersionError)
    for (const nonsense of [null, [], 'x', 7, {}]) expect(() => bundleOf(nonsense)).toThrow(InvalidInputError)
  })

  it('says no secret when it is refused', () => {
    const broken = document()
    broken['doors'][0].fallback = 'f00df00d'
    expect(() => bundleOf(broken)).not.toThrow('f00df00d')
  })
})

describe('keys and points', () => {
  it.each(Object.entries<{ private: string; public: string }>(vector('door/keys')['keys']))('%s: compressed and back', async (_, key) => {
    const { point } = await ephemeralOf(bytes(key.private))
    expect(hex(point)).toBe(key.public)
    expect(hex(compressed(uncompressed(point)))).toBe(key.public)
  })

  it.each([['04'], [''], [`02${'ff'.repeat(32)}`], [`05${'01'.repeat(32)}`], [`02${'00'.repeat(31)}`], [`02${'00'.repeat(31)}07`]])('refuses the point %s', (point) => {
    expect(() => uncompressed(bytes(point))).toThrow(PeerProtocolError)
  })

  it("the phone's key signs, and nobody reads it", async () => {
    const pair = await newPhoneKey()
    expect(pair.privateKey.extractable).toBe(false)
    await expect(crypto.subtle.exportKey('pkcs8', pair.privateKey)).rejects.toThrow()
    await expect(crypto.subtle.exportKey('jwk', pair.privateKey)).rejects.toThrow()
    const point = await pointOf(pair.publicKey)
    const signature = await signEs256(pair.privateKey, utf8('open'))
    expect(signature).toHaveLength(64)
    expect(await verifyEs256(point, signature, utf8('open'))).toBe(true)
    expect(await verifyEs256(point, signature, utf8('shut'))).toBe(false)
  })

  it('a COSE message verifies under its own key alone', async () => {
    const key = vector('door/keys')['keys'].issuer_guest
    const payload = utf8('claims')
    const header = encode(new Map<number, number | ReturnType<typeof bytes>>([[1, -7], [4, bytes('7a4a5691')]]))
    const signature = await sign(bytes(key.private), toBeSigned(header, payload))
    const message = parse1(encode([header, new Map(), payload, signature]), 896)
    expect(await verify1(message, bytes(key.public))).toEqual(payload)
    await expect(verify1(message, bytes(vector('door/keys')['keys'].stranger.public))).rejects.toThrow('bad_signature')
    for (const wrong of [[header, new Map(), payload], [header, new Map([[1, 1]]), payload, signature], [header, new Map(), payload, signature.slice(1)], [encode(new Map([[1, -8], [4, 1]])), new Map(), payload, signature]]) {
      expect(() => parse1(encode(wrong as never), 896)).toThrow(PeerProtocolError)
    }
  })
})

describe('CBOR: one value, one spelling', () => {
  it.each<[string, unknown]>([
    ['00', 0], ['17', 23], ['1818', 24], ['190100', 256], ['1a00010000', 65_536], ['1bffffffffffffffff', 18_446_744_073_709_551_615n],
    ['20', -1], ['3863', -100], ['3bffffffffffffffff', -18_446_744_073_709_551_616n], ['f4', false], ['f5', true], ['f6', null],
    ['62c3bc', 'ü'], ['43010203', bytes('010203')], ['8301820203820405', [1, [2, 3], [4, 5]]], ['a201020304', new Map([[1, 2], [3, 4]])],
    ['a2000120f5', new Map<number, number | boolean>([[0, 1], [-1, true]])],
  ])('%s', (text, value) => {
    expect(decode(bytes(text), 64)).toEqual(value)
    expect(hex(encode(value as never))).toBe(text)
  })

  it.each([
    ['1817', 'a long head'], ['190017', 'a longer head'], ['1b00000000ffffffff', 'the longest head'], ['9fff', 'indefinite length'], ['5f4101ff', 'indefinite bytes'],
    ['c000', 'a tag'], ['f90000', 'a float'], ['fb3ff0000000000000', 'a double'], ['f7', 'undefined'], ['e0', 'a simple value'], ['f818', 'a long simple value'],
    ['a203040102', 'keys out of order'], ['a201020103', 'a key twice'], ['a18000', 'a list for a key'], ['a1f500', 'true for a key'],
    ['6180', 'text that is not UTF-8'], ['8201', 'an end too early'], ['5903e8', 'bytes that are not there'], ['9bffffffffffffffff', 'a list of everything'],
    ['0000', 'a byte after it'], ['', 'nothing'], ['8181818180', 'five lists in one another'], ['1c', 'a reserved head'], ['ff', 'a break'],
  ])('refuses %s: %s', (text) => {
    expect(() => decode(bytes(text), 64)).toThrow(PeerProtocolError)
  })

  it('refuses more bytes than asked for, unread', () => {
    expect(() => decode(new Uint8Array(65), 64)).toThrow('65 bytes')
  })
})

describe('bytes and bounds', () => {
  it('spells base64 both ways and refuses other spellings', () => {
    for (let size = 0; size < 70; size += 1) {
      const data = Uint8Array.from({ length: size }, (_, at) => (at * 37 + size) & 0xff)
      expect(fromBase64(base64(data))).toEqual(data)
      expect(fromBase64Url(base64Url(data))).toEqual(data)
      expect(fromHex(hex(data))).toEqual(data)
    }
    for (const wrong of ['a', 'ab', 'ab=', '====', 'ab==c', 'a b=', 'ab-_']) expect(fromBase64(wrong)).toBeNull()
    for (const wrong of ['a', 'abcde', 'ab==', 'a+b/']) expect(fromBase64Url(wrong)).toBeNull()
    for (const wrong of ['a', 'zz', '0x00', ' 00']) expect(fromHex(wrong)).toBeNull()
    expect(equal(bytes('00'), bytes('0000')) || equal(bytes('00'), bytes('01'))).toBe(false)
  })

  it('every refusal has its byte, in the order of SPEC.md 6', () => {
    expect(REFUSAL_REASONS.map((_, at) => statusOf(0x10 + at))).toEqual(REFUSAL_REASONS)
    expect([0, 1, 2, 3].map(statusOf)).toEqual(['opened', 'done', 'unchanged', 'need_certificate'])
    expect([4, 0x0f, 0x21, 0xff].map(statusOf)).toEqual([undefined, undefined, undefined, undefined])
    expect(isRefusal('opened')).toBe(false)
    expect(isRefusal('superseded')).toBe(true)
  })

  it.each([[0, 0x21], [9, 3], [10, 101], [10, 254], [11, 4]])('a RESULT whose byte %i says %i breaks the protocol', (at, value) => {
    const result = new Uint8Array(35)
    expect(decodeResult(result).batteryPercent).toBe(0)
    result[at] = value
    expect(() => decodeResult(result)).toThrow(PeerProtocolError)
    expect(() => decodeResult(new Uint8Array(34))).toThrow('34 bytes')
  })

  it('asks for no more records than an answer holds', () => {
    expect(() => encodeFetch(0, 21)).toThrow('21 records')
    expect(() => encodeFetch(0, 0)).toThrow('0 records')
  })
})
