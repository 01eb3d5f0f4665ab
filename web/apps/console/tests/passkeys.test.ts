import { describe, expect, it } from 'vitest'
import { companyAddress, whatFailed } from '../src/SignIn'
import { asked, inWords, Refused, waysIn } from '../src/passkeys'

const base = 'https://cloud.example/console/'
const answering = (status: number, body: unknown) => (async () => new Response(JSON.stringify(body), { status })) as typeof fetch

describe('other ways in', () => {
  it('offers nothing that the cloud does not offer', async () => {
    expect(await waysIn({ ask: answering(404, {}), base })).toEqual({ passkeys: false, companies: false })
    expect(await waysIn({ ask: answering(200, { passkeys: true, companies: true }), base })).toEqual({ passkeys: false, companies: true })
    const lost = (async () => Promise.reject(new TypeError('no network'))) as typeof fetch
    expect(await waysIn({ ask: lost, base })).toEqual({ passkeys: false, companies: false })
  })

  it('says what the cloud said, and what to do', async () => {
    const refusing = answering(403, { type: 'urn:innkeeper:problem:sign-in-again', detail: 'no' })
    const refused: unknown = await asked('POST', 'api/v1/me/passkeys/options', undefined, { ask: refusing, base }).catch((error: unknown) => error)
    expect(refused).toBeInstanceOf(Refused)
    expect(inWords(refused)).toContain('Sign out and in again')
    expect(inWords(new Refused(400, 'passkey', 'known already'))).toBe('known already')
    expect(inWords(new DOMException('x', 'NotAllowedError'))).toContain('nobody answered')
    expect(() => inWords(new RangeError('a defect'))).toThrow('a defect')
  })

  it('sends a reader to his company and says what came of it', async () => {
    const seen: unknown[] = []
    const ask = (async (_address: unknown, init?: RequestInit) => {
      seen.push(JSON.parse(String(init?.body)))
      return new Response(JSON.stringify({ location: 'https://idp.example/authorize?x' }))
    }) as typeof fetch
    expect(await companyAddress(' Northlight ', '#/p/aurora', { ask, base })).toBe('https://idp.example/authorize?x')
    expect(seen).toEqual([{ company: 'northlight', return_to: '#/p/aurora' }])
    expect(whatFailed('#/sign-in/ended')).toContain('Begin again')
    expect(whatFailed('#/sign-in/other')).toBe('Signing in did not work.')
    expect(whatFailed('#/p/aurora')).toBeNull()
  })
})
