/** Which language, and times and ages in it. */
import { ar } from './ar'
import { de } from './de'
import { en } from './en'
import { es } from './es'
import { fr } from './fr'
import { UTC } from '../zone'
import type { Refusal, Words } from './words'

export type { Refusal, Words } from './words'

export const LANGUAGES: readonly Words[] = [en, de, fr, es, ar]

/** The first of the reader's languages that we speak; English otherwise. */
export function spoken(wanted: readonly string[]): Words {
  return wanted.map((tag) => LANGUAGES.find((words) => tag.toLowerCase().split('-')[0] === words.tag)).find((words) => words !== undefined) ?? en
}

/** The language with the reader's own region where it has the same language (en-GB, de-AT). */
export const localeOf = (words: Words, wanted: readonly string[]): string => wanted.find((tag) => tag.toLowerCase().split('-')[0] === words.tag) ?? words.tag

export const directionOf = (words: Words): 'ltr' | 'rtl' => (words.tag === 'ar' ? 'rtl' : 'ltr')

/** "Fri 2 Jan, 11:00" of the house's own wall, or "10:00 UTC" where its zone is not known; a year only where it is not this one. */
export function saidTime(atMs: number, nowMs: number, zone: string | null, locale: string): string {
  const { year, near, far } = formatsOf(zone, locale)
  return (year.format(atMs) === year.format(nowMs) ? near : far).format(atMs)
}

interface Formats {
  year: Intl.DateTimeFormat
  near: Intl.DateTimeFormat
  far: Intl.DateTimeFormat
}

const formats = new Map<string, Formats>() // dear to make, and a long list says many times

function formatsOf(zone: string | null, locale: string): Formats {
  const name = `${locale} ${zone ?? ''}`
  const known = formats.get(name)
  if (known !== undefined) return known
  const timeZone = zone ?? UTC
  const said: Intl.DateTimeFormatOptions = { timeZone, ...(zone === null ? { timeZoneName: 'short' } : {}), weekday: 'short', day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', hourCycle: 'h23', numberingSystem: 'latn' }
  const made = { year: new Intl.DateTimeFormat('en', { timeZone, year: 'numeric' }), near: new Intl.DateTimeFormat(locale, said), far: new Intl.DateTimeFormat(locale, { ...said, year: 'numeric' }) }
  formats.set(name, made)
  return made
}

/** "5 minutes ago"; an age is never made younger than it is by more than its unit. */
export function saidAge(ageMs: number, locale: string): string {
  const format = new Intl.RelativeTimeFormat(new Intl.Locale(locale, { numberingSystem: 'latn' }), { numeric: 'always' })
  const seconds = Math.max(0, Math.floor(ageMs / 1_000))
  const [count, unit] = seconds < 60 ? [seconds, 'second'] as const : seconds < 7_200 ? [Math.floor(seconds / 60), 'minute'] as const : seconds < 172_800 ? [Math.floor(seconds / 3_600), 'hour'] as const : [Math.floor(seconds / 86_400), 'day'] as const
  return format.format(-count, unit)
}

export function refusalOf(reason: string, words: Words): string {
  return words.refused[Object.hasOwn(words.refused, reason) ? (reason as Refusal) : 'other']
}
