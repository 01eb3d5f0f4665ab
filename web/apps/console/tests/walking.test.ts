import { describe, expect, it } from 'vitest'
import { step } from '../src/gridSteps'
import { parseRoute, routeTo } from '../src/route'

/** Two floors: 3 + 1 tiles, then 2; each 100 wide. */
const TILES = [[0, 0], [100, 0], [200, 0], [0, 50], [0, 200], [100, 200]].map(([left = 0, top = 0]) => ({ left, top, width: 100 }))

describe('walking over the rooms', () => {
  it.each<[string, number, number | null]>([
    ['ArrowRight', 0, 1],
    ['ArrowRight', 2, 3],
    ['ArrowRight', 5, null],
    ['ArrowLeft', 3, 2],
    ['ArrowLeft', 0, null],
    ['ArrowDown', 1, 3],
    ['ArrowDown', 3, 4],
    ['ArrowDown', 4, null],
    ['ArrowUp', 5, 3],
    ['ArrowUp', 3, 0],
    ['ArrowUp', 2, null],
    ['Home', 4, 0],
    ['End', 0, 5],
    ['a', 0, null],
  ])('%s from %d leads to %s', (key, from, to) => {
    expect(step(key, TILES, from)).toBe(to)
  })
})

describe('the address', () => {
  it.each([
    { property: null, room: null },
    { property: 'aurora', room: null },
    { property: 'aurora', room: '101' },
    { property: 'a/b c', room: 'ä/1' },
  ])('comes back as it was written: %o', (route) => {
    expect(parseRoute(routeTo(route))).toEqual(route)
  })

  it.each(['', '#', '#/', '#/x/y', '#/p/', '#/p/%E0%A4%A', '#rooms'])('%s leads to the list', (hash) => {
    expect(parseRoute(hash)).toEqual({ property: null, room: null })
  })
})
