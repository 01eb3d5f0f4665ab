import { describe, expect, it } from 'vitest'
import { ApiFailure, Client } from '../src'

const answering = (status: number, body: string) => {
  const asked: string[] = []
  const fetch = async (address: string | URL | Request): Promise<Response> => {
    asked.push(String(address))
    return new Response(body, { status })
  }
  return { asked, client: new Client({ base: 'https://ops.example.invalid/console/#/p/aurora', fetch }) }
}

describe('the client', () => {
  it('asks below the page’s own path and escapes what it puts there', async () => {
    const { asked, client } = answering(200, '{"events":[],"next":null}')
    await client.accessEvents('a/b', 'c&d', 20)
    expect(asked).toEqual(['https://ops.example.invalid/console/api/v1/properties/a%2Fb/access-events?limit=20&before=c%26d'])
    expect(client.liveAddress('aurora')).toBe('wss://ops.example.invalid/console/api/v1/properties/aurora/live')
  })

  it.each([
    [401, 'signed_out'],
    [403, 'forbidden'],
    [404, 'not_found'],
    [422, 'refused'],
    [503, 'unreachable'],
  ])('calls %d %s and repeats the problem’s words', async (status, kind) => {
    const { client } = answering(status, '{"detail":"Because of this."}')
    await expect(client.properties()).rejects.toMatchObject({ kind, status, message: 'Because of this.' })
  })

  it('calls a broken answer a refusal, and no answer unreachable', async () => {
    await expect(answering(200, '<html>').client.properties()).rejects.toMatchObject({ kind: 'refused' })
    const deaf = new Client({ base: 'http://127.0.0.1/', fetch: () => Promise.reject(new TypeError('failed')) })
    await expect(deaf.properties()).rejects.toBeInstanceOf(ApiFailure)
    await expect(deaf.properties()).rejects.toMatchObject({ kind: 'unreachable' })
  })
})
