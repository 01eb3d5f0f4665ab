import { describe, expect, it } from 'vitest'
import { askForSession } from '../src/SignIn'

const BASE = 'https://cloud.example/console/'

function answering(status: number, headers: Record<string, string> = {}) {
  const asked: { address: string; body: unknown }[] = []
  const ask = async (address: URL | RequestInfo, init?: RequestInit) => {
    asked.push({ address: String(address), body: JSON.parse(String(init?.body)) })
    return new Response('{}', { status, headers })
  }
  return { ask: ask as typeof fetch, asked }
}

describe('signing in', () => {
  it('asks for a cookie, not for tokens', async () => {
    const { ask, asked } = answering(200)
    expect(await askForSession('anna@x.example', 'secret', { ask, base: BASE })).toBeNull()
    expect(asked[0]?.address).toBe('https://cloud.example/console/api/v1/sign-in')
    expect(asked[0]?.body).toEqual({ email: 'anna@x.example', password: 'secret', browser: true })
  })

  it('says what to do when it is refused', async () => {
    expect(await askForSession('a', 'b', { ask: answering(401).ask, base: BASE })).toContain('wrong')
    expect(await askForSession('a', 'b', { ask: answering(429, { 'Retry-After': '17' }).ask, base: BASE })).toContain('17 seconds')
    expect(await askForSession('a', 'b', { ask: answering(503).ask, base: BASE })).toContain('503')
    const lost = (async () => Promise.reject(new TypeError('no network'))) as typeof fetch
    expect(await askForSession('a', 'b', { ask: lost, base: BASE })).toContain('does not answer')
  })
})
