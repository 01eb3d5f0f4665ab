/** What the desk says of a guest: his how manieth visit it is, and his wishes for a room, as words and as a form gives them. */
import type { RoomPreferences } from '@innkeeper/api'

/** What can be wished: the field, its label, and each choice with its words. */
export const WISHES: readonly (readonly [keyof RoomPreferences, string, readonly (readonly [string, string])[]])[] = [
  ['floor', 'Floor', [['high', 'a high one'], ['low', 'a low one']]],
  ['bed', 'Bed', [['double', 'double'], ['twin', 'two beds'], ['single', 'single']]],
  ['smoking', 'Smoking', [['true', 'a room for smokers'], ['false', 'no smoking']]],
  ['view', 'View', [['street', 'the street'], ['courtyard', 'the courtyard'], ['garden', 'the garden'], ['city', 'the city'], ['mountain', 'mountains'], ['water', 'water']]],
  ['lift', 'Lift', [['near', 'near it'], ['far', 'far from it']]],
  ['step_free', 'Steps', [['true', 'none on the way or in the bath'], ['false', 'do not matter']]],
]
const YES_OR_NO: Record<string, boolean> = { true: true, false: false }

/** “1st”, “2nd”, “13th”. */
export function saidVisit(visit: number): string {
  const last = visit % 100 > 10 && visit % 100 < 14 ? 0 : visit % 10
  return `${visit}${['th', 'st', 'nd', 'rd'][last] ?? 'th'}`
}

/** What a form of wishes says: what is left open is null. */
export function wishesOf(form: Pick<FormData, 'get'>): RoomPreferences {
  const told = WISHES.map(([field]) => {
    const said = String(form.get(field) ?? '')
    return [field, said === '' ? null : YES_OR_NO[said] ?? said] as const
  })
  return Object.fromEntries(told) as RoomPreferences
}
