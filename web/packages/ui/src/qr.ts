/**
 * QR codes of text in bytes, error correction M, versions 1 to 15: enough for a link of 400 characters.
 *
 * Source: ISO/IEC 18004 (structure, tables 7 to 9 and annexes A to E). Held against codes of another encoder in tests.
 */

/** By version from 1: bytes of correction a block, then [blocks, bytes of data a block], twice where there are two kinds. */
const BLOCKS: readonly (readonly [number, readonly (readonly [number, number])[]])[] = [
  [10, [[1, 16]]], [16, [[1, 28]]], [26, [[1, 44]]], [18, [[2, 32]]], [24, [[2, 43]]], [16, [[4, 27]]], [18, [[4, 31]]], [22, [[2, 38], [2, 39]]],
  [22, [[3, 36], [2, 37]]], [26, [[4, 43], [1, 44]]], [30, [[1, 50], [4, 51]]], [22, [[6, 36], [2, 37]]], [22, [[8, 37], [1, 38]]], [24, [[4, 40], [5, 41]]], [24, [[5, 41], [5, 42]]],
]
/** Where the small marks stand, by version from 1. */
const MARKS: readonly (readonly number[])[] = [
  [], [6, 18], [6, 22], [6, 26], [6, 30], [6, 34], [6, 22, 38], [6, 24, 42], [6, 26, 46], [6, 28, 50], [6, 30, 54], [6, 32, 58], [6, 34, 62], [6, 26, 46, 66], [6, 26, 48, 70],
]
const MASKS: readonly ((row: number, column: number) => boolean)[] = [
  (r, c) => (r + c) % 2 === 0, (r) => r % 2 === 0, (_, c) => c % 3 === 0, (r, c) => (r + c) % 3 === 0,
  (r, c) => (Math.floor(r / 2) + Math.floor(c / 3)) % 2 === 0, (r, c) => ((r * c) % 2) + ((r * c) % 3) === 0,
  (r, c) => (((r * c) % 2) + ((r * c) % 3)) % 2 === 0, (r, c) => (((r + c) % 2) + ((r * c) % 3)) % 2 === 0,
]

/** The code of a text, true for dark, without its quiet zone. Throws RangeError for a text that is too long. `mask` 0 to 7: that one, not the best. */
export function qrOf(text: string, mask?: number): boolean[][] {
  const bytes = [...new TextEncoder().encode(text)]
  const version = BLOCKS.findIndex(([, kinds], at) => bytes.length + (at < 9 ? 2 : 3) <= sizeOf(kinds)) + 1
  if (version === 0) throw new RangeError(`a text of ${bytes.length} bytes is too long for a code`)
  const stream = woven(dataOf(bytes, version), version)
  if (mask !== undefined) return draw(version, stream, mask)
  const drawn = MASKS.map((_, each) => draw(version, stream, each))
  return drawn.reduce((best, each) => (penaltyOf(each) < penaltyOf(best) ? each : best))
}

/** The same as the path of an SVG whose unit is one module, in a quiet zone of four. */
export function qrPath(code: readonly (readonly boolean[])[]): string {
  return code.flatMap((row, y) => row.flatMap((isDark, x) => (isDark ? [`M${x + 4} ${y + 4}h1v1h-1z`] : []))).join('')
}

const sizeOf = (kinds: readonly (readonly [number, number])[]): number => kinds.reduce((sum, [blocks, data]) => sum + blocks * data, 0)

function dataOf(bytes: readonly number[], version: number): number[] {
  const bits: number[] = []
  const put = (value: number, count: number): void => { for (let at = count - 1; at >= 0; at -= 1) bits.push((value >> at) & 1) }
  const most = sizeOf(at(BLOCKS, version - 1)[1]) * 8
  put(4, 4)
  put(bytes.length, version < 10 ? 8 : 16)
  for (const byte of bytes) put(byte, 8)
  put(0, Math.min(4, most - bits.length))
  while (bits.length % 8 !== 0) bits.push(0)
  const data = Array.from({ length: bits.length / 8 }, (_, n) => bits.slice(8 * n, 8 * n + 8).reduce((sum, bit) => sum * 2 + bit, 0))
  for (let filler = 0xec; data.length < most / 8; filler ^= 0xec ^ 0x11) data.push(filler)
  return data
}

/** The blocks' data, then their correction, byte by byte in turn. */
function woven(data: readonly number[], version: number): number[] {
  const [correction, kinds] = at(BLOCKS, version - 1)
  const blocks: number[][] = []
  let from = 0
  for (const [count, size] of kinds) {
    for (let n = 0; n < count; n += 1) blocks.push(data.slice(from, (from += size)))
  }
  const checks = blocks.map((block) => remainder(block, correction))
  const turns = (lists: readonly number[][]): number[] =>
    Array.from({ length: Math.max(...lists.map(({ length }) => length)) }, (_, n) => lists.flatMap((list) => list.slice(n, n + 1))).flat()
  return [...turns(blocks), ...turns(checks)]
}

/** Reed-Solomon over GF(256) with 0x11d. */
function remainder(block: readonly number[], count: number): number[] {
  let generator = [1]
  for (let n = 0, root = 1; n < count; n += 1, root = times(root, 2)) {
    generator = [...generator, 0].map((value, place) => value ^ times(place === 0 ? 0 : at(generator, place - 1), root))
  }
  const left = [...block, ...Array<number>(count).fill(0)]
  for (let n = 0; n < block.length; n += 1) {
    const factor = at(left, n)
    generator.forEach((value, place) => { left[n + place] = at(left, n + place) ^ times(value, factor) })
  }
  return left.slice(block.length)
}

function times(one: number, other: number): number {
  let product = 0
  for (let bit = 7; bit >= 0; bit -= 1) {
    product = (product << 1) ^ ((product >> 7) * 0x11d)
    if (((other >> bit) & 1) === 1) product ^= one
  }
  return product
}

function draw(version: number, stream: readonly number[], mask: number): boolean[][] {
  const size = 17 + 4 * version
  const code = Array.from({ length: size }, () => Array<boolean>(size).fill(false))
  const isFixed = Array.from({ length: size }, () => Array<boolean>(size).fill(false))
  const fix = (row: number, column: number, isDark: boolean): void => {
    if (row < 0 || column < 0 || row >= size || column >= size) return
    at(code, row)[column] = isDark
    at(isFixed, row)[column] = true
  }
  for (let n = 0; n < size; n += 1) {
    fix(6, n, n % 2 === 0)
    fix(n, 6, n % 2 === 0)
  }
  for (const [row, column] of [[3, 3], [3, size - 4], [size - 4, 3]] as const) {
    for (let y = -4; y <= 4; y += 1) {
      for (let x = -4; x <= 4; x += 1) fix(row + y, column + x, ![2, 4].includes(Math.max(Math.abs(x), Math.abs(y))))
    }
  }
  const marks = at(MARKS, version - 1)
  const last = marks.at(-1)
  for (const row of marks) {
    for (const column of marks) {
      if ((row === 6 && (column === 6 || column === last)) || (column === 6 && row === last)) continue
      for (let y = -2; y <= 2; y += 1) {
        for (let x = -2; x <= 2; x += 1) fix(row + y, column + x, Math.max(Math.abs(x), Math.abs(y)) !== 1)
      }
    }
  }
  const format = ((mask << 10) | checked(mask, 10, 0x537)) ^ 0x5412 // correction M is 00
  const bit = (value: number, place: number): boolean => ((value >> place) & 1) === 1
  for (let n = 0; n < 15; n += 1) {
    const isDark = bit(format, n)
    fix(n < 6 ? n : n < 8 ? n + 1 : size - 15 + n, 8, isDark)
    fix(8, n < 8 ? size - 1 - n : n < 9 ? 7 : 14 - n, isDark)
  }
  fix(size - 8, 8, true)
  if (version >= 7) {
    const told = (version << 12) | checked(version, 12, 0x1f25)
    for (let n = 0; n < 18; n += 1) {
      fix(Math.floor(n / 3), size - 11 + (n % 3), bit(told, n))
      fix(size - 11 + (n % 3), Math.floor(n / 3), bit(told, n))
    }
  }
  const covers = at(MASKS, mask)
  let place = 0
  for (let right = size - 1; right > 0; right -= 2) {
    if (right === 6) right = 5 // the column of the clock is passed over
    for (let step = 0; step < size; step += 1) {
      const row = ((right + 1) & 2) === 0 ? size - 1 - step : step
      for (const column of [right, right - 1]) {
        if (at(at(isFixed, row), column)) continue
        const isSet = place < stream.length * 8 && bit(at(stream, place >> 3), 7 - (place & 7))
        place += 1
        at(code, row)[column] = isSet !== covers(row, column)
      }
    }
  }
  return code
}

/** The check bits of a BCH code. */
function checked(value: number, bits: number, polynomial: number): number {
  let left = value << bits
  const top = Math.floor(Math.log2(polynomial))
  while (left > 0 && Math.floor(Math.log2(left)) >= top) left ^= polynomial << (Math.floor(Math.log2(left)) - top)
  return left
}

function penaltyOf(code: readonly (readonly boolean[])[]): number {
  const size = code.length
  const lines = [...code, ...code.map((_, n) => code.map((row) => at(row, n)))].map((line) => line.map((isDark) => (isDark ? '1' : '0')).join(''))
  let penalty = 0
  for (const line of lines) {
    for (const run of line.match(/0{5,}|1{5,}/gu) ?? []) penalty += run.length - 2
    for (let n = 0; n + 11 <= size; n += 1) if (['10111010000', '00001011101'].includes(line.slice(n, n + 11))) penalty += 40
  }
  for (let row = 0; row + 1 < size; row += 1) {
    for (let column = 0; column + 1 < size; column += 1) {
      const isDark = at(at(code, row), column)
      if ([at(at(code, row), column + 1), at(at(code, row + 1), column), at(at(code, row + 1), column + 1)].every((each) => each === isDark)) penalty += 3
    }
  }
  const dark = code.flat().filter((isDark) => isDark).length
  return penalty + 10 * Math.floor(Math.abs((100 * dark) / size ** 2 - 50) / 5)
}

function at<T>(list: readonly T[], place: number): T {
  const found = list[place]
  if (found === undefined) throw new RangeError(`nothing at ${place}`)
  return found
}
