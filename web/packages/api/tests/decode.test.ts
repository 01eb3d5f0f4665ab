import { describe, expect, it } from 'vitest'
import { decodeLiveMessage, fullJitterMs, PeerSaidNonsense } from '../src'

describe('what comes over the socket', () => {
  it.each([
    ['', 'not JSON'],
    ['[]', 'no object'],
    ['{"type":5}', 'message.type'],
    ['{"type":"tick"}', 'tick.as_of'],
    ['{"type":"rooms","as_of":"x","rooms":{}}', 'rooms.rooms'],
    ['{"type":"rooms","as_of":"x","rooms":[{"id":"101"}]}', 'rooms.rooms[0].floor'],
    ['{"type":"access","events":[{"id":"1"}]}', 'access.events[0].door'],
    ['{"type":"link","as_of":"x","link":{"state":"online"}}', 'link.link.lanes'],
  ])('refuses %s and names the place', (text, place) => {
    expect(() => decodeLiveMessage(text)).toThrow(PeerSaidNonsense)
    expect(() => decodeLiveMessage(text)).toThrow(place)
  })

  it('takes a room whose floor nobody has told, and no conflict without its kind', () => {
    expect(decodeLiveMessage('{"type":"rooms","as_of":"x","rooms":[{"id":"a","floor":null,"conflicts":[]}]}')).toMatchObject({ rooms: [{ floor: null }] })
    expect(() => decodeLiveMessage('{"type":"rooms","as_of":"x","rooms":[{"id":"a","floor":1,"conflicts":[{}]}]}')).toThrow('rooms.rooms[0].conflicts[0].kind')
  })

  it('refuses bytes, and passes over types that it does not know', () => {
    expect(() => decodeLiveMessage(new ArrayBuffer(2))).toThrow(PeerSaidNonsense)
    expect(decodeLiveMessage('{"type":"news"}')).toBeNull()
  })
})

describe('full jitter', () => {
  it('stays between nothing and the ceiling, however often it was tried', () => {
    const backoff = { first_ms: 500, most_ms: 15_000 }
    for (const tries of [0, 1, 5, 31, 5_000]) {
      expect(fullJitterMs(backoff, tries, () => 0)).toBe(0)
      expect(fullJitterMs(backoff, tries, () => 0.999_999)).toBeLessThanOrEqual(15_000)
    }
  })
})
