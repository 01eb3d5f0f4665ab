/** The check-in's words by language tag; one set for each of the page's languages. */
import { ar } from './ar'
import { de } from './de'
import { en } from './en'
import { es } from './es'
import { fr } from './fr'
import type { SessionWords } from './words'

export type { FieldName, SessionWords, StaffReason, ZoneField } from './words'

const BY_TAG: Readonly<Record<string, SessionWords>> = { en, de, fr, es, ar }

export const sessionWords = (tag: string): SessionWords => BY_TAG[tag] ?? en
