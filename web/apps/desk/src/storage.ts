/** What this browser keeps for the page, where it keeps anything at all: blocked or full, the page goes on without. */
import type { Memory } from './desk'

export function browserMemory(storage: () => Storage, item: string): Memory {
  return {
    get: () => tried(() => storage().getItem(item)),
    set: (said) => void tried(() => {
      storage().removeItem(item) // what is full keeps nothing older either
      storage().setItem(item, said)
    }),
    clear: () => void tried(() => storage().removeItem(item)),
  }
}

function tried<T>(what: () => T): T | null {
  try {
    return what()
  } catch (error) {
    if (error instanceof DOMException || error instanceof TypeError) return null // forbidden by the browser's settings, full, or not there
    throw error
  }
}
