/** Says to everything below it whether what it shows is coming in now, and the zone whose clock it speaks. */
import { createContext, useContext } from 'react'
import type { Source } from './freshness'

export interface Surroundings {
  source: Source
  zone: string
}

const SurroundingsContext = createContext<Surroundings>({ source: 'live', zone: 'UTC' })

export const SurroundingsProvider = SurroundingsContext.Provider
export const useSurroundings = (): Surroundings => useContext(SurroundingsContext)
