/** Which language, and times in it. */
import { ar } from './ar'
import { de } from './de'
import { en } from './en'
import { es } from './es'
import { fr } from './fr'
import type { Words } from './words'

export type { ArrivalTrouble, CheckInTrouble, Words } from './words'

export const LANGUAGES: readonly Words[] = [en, de, fr, es, ar]

/** The first of the reader's languages that we speak; English otherwise. */
export function spoken(wanted: readonly string[]): Words {
  for (const tag of wanted) {
    const found = LANGUAGES.find((words) => tag.toLowerCase().split('-')[0] === words.tag)
    if (found !== undefined) return found
  }
  return en
}

/** The language chosen, with the reader's own region for dates where it has the same language (en-GB, de-AT). */
export function localeOf(words: Words, wanted: readonly string[]): string {
  return wanted.find((tag) => tag.toLowerCase().split('-')[0] === words.tag) ?? words.tag
}

/** Which way a language is written. */
export const directionOf = (words: Words): 'ltr' | 'rtl' => (words.tag === 'ar' ? 'rtl' : 'ltr')

/** "15:00" today, "Sat, 22 Nov, 15:00" otherwise, in the phone's own zone, as a guest in the building reads it. */
export function saidTime(atMs: number, nowMs: number, locale: string): string {
  const [at, now] = [new Date(atMs), new Date(nowMs)]
  const isToday = at.toDateString() === now.toDateString()
  const day: Intl.DateTimeFormatOptions = isToday ? {} : { weekday: 'short', day: 'numeric', month: 'short' }
  const year: Intl.DateTimeFormatOptions = at.getFullYear() === now.getFullYear() ? {} : { year: 'numeric' }
  return new Intl.DateTimeFormat(locale, { ...day, ...year, hour: '2-digit', minute: '2-digit' }).format(at)
}

/** What the hotel calls a door, in the guest's language where it is a plain room number. */
export function saidDoor(label: string, words: Words): string {
  const room = /^room[ -]?([0-9]{1,5}[a-z]?)$/iu.exec(label.trim())?.[1] ?? /^[0-9]{1,5}[a-z]?$/iu.exec(label.trim())?.[0]
  return room === undefined ? label : words.room(room)
}
