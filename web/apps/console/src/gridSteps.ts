/** Walking over tiles with the arrows as the eye does, however many columns the screen has just now. */

export interface Box {
  left: number
  top: number
  width: number
}

/** Where `key` leads from the tile `from`, or null when it leads nowhere. Tiles stand in reading order. */
export function step(key: string, tiles: readonly Box[], from: number): number | null {
  const here = tiles[from]
  if (here === undefined) return null
  switch (key) {
    case 'ArrowRight':
      return from + 1 < tiles.length ? from + 1 : null
    case 'ArrowLeft':
      return from > 0 ? from - 1 : null
    case 'Home':
      return from === 0 ? null : 0
    case 'End':
      return from === tiles.length - 1 ? null : tiles.length - 1
    case 'ArrowDown':
      return nearestInRow(tiles, here, rowTop(tiles, here, 1))
    case 'ArrowUp':
      return nearestInRow(tiles, here, rowTop(tiles, here, -1))
    default:
      return null
  }
}

/** The top of the next row below (way 1) or above (way -1). */
function rowTop(tiles: readonly Box[], here: Box, way: 1 | -1): number | null {
  const tops = tiles.map((tile) => tile.top).filter((top) => (top - here.top) * way > 1)
  return tops.length === 0 ? null : way === 1 ? Math.min(...tops) : Math.max(...tops)
}

function nearestInRow(tiles: readonly Box[], here: Box, top: number | null): number | null {
  if (top === null) return null
  const middle = here.left + here.width / 2
  let best: number | null = null
  let least = Number.POSITIVE_INFINITY
  for (const [index, tile] of tiles.entries()) {
    const off = Math.abs(tile.left + tile.width / 2 - middle)
    if (Math.abs(tile.top - top) <= 1 && off < least) [best, least] = [index, off]
  }
  return best
}
