import { describe, expect, it } from 'vitest'
import { hex, LocalProtocolError, newPhoneKey, OPEN_REFUSALS, openRequest, openStatement, openToSign, pointOf } from '../src'
import { verifyEs256 } from '../src/primitives'
import { bytes, cases, type Json, vector } from './vectors'

const termsOf = (told: Json) => ({ id: bytes(told['id']), issuedAtMs: told['issued_at_ms'], property: told['property'], grant: told['grant'], door: told['door'] })
const GOOD = termsOf(cases('door/remote_open', 'requests')[0]!)

describe('a request to open from afar', () => {
  it.each(cases('door/remote_open', 'requests').map((each) => [each['door'], each]))('%s is the bytes of the vector', async (_, told) => {
    const statement = openStatement(termsOf(told))
    expect(hex(statement)).toBe(told['statement'])
    expect(hex(openToSign(statement))).toBe(told['signed'])
    expect(await verifyEs256(bytes(vector('door/remote_open')['phone_public']), bytes(told['signature']), openToSign(statement))).toBe(true)
  })

  it('is signed by a key that nobody can read out, over its own domain alone', async () => {
    const pair = await newPhoneKey()
    expect(pair.privateKey.extractable).toBe(false)
    const request = await openRequest(pair.privateKey, GOOD)
    const statement = openStatement(GOOD)
    expect(hex(request.slice(0, statement.length))).toBe(hex(statement))
    const point = await pointOf(pair.publicKey)
    const signature = request.slice(statement.length)
    expect(await verifyEs256(point, signature, openToSign(statement))).toBe(true)
    expect(await verifyEs256(point, signature, statement)).toBe(false)
  })

  it.each([{ id: new Uint8Array(15) }, { issuedAtMs: -1 }, { issuedAtMs: 1.5 }, { issuedAtMs: 2 ** 53 + 2 }, { property: '' }, { grant: 'IK' }, { door: 'a'.repeat(101) }])('%j is never sent', (wrong) => {
    expect(() => openStatement({ ...GOOD, ...wrong })).toThrow(LocalProtocolError)
  })

  it('knows every refusal of the vectors', () => {
    const told = [...cases('door/remote_open', 'malformed'), ...cases('door/remote_open', 'judged')].map((each) => each['refusal'] as string | null)
    expect(new Set(told.filter((each) => each !== null))).toEqual(new Set(OPEN_REFUSALS))
  })
})
