/** What a lock answers in one byte (SPEC.md 6): done below 0x10, refused from there on. */
import { REFUSAL_REASONS, type RefusalReason } from './errors'

export const DONE_STATUSES = ['opened', 'done', 'unchanged', 'need_certificate'] as const
export type Status = (typeof DONE_STATUSES)[number] | RefusalReason

/** SPEC.md 6 numbers the refusals 0x10 to 0x20 in the order of REFUSAL_REASONS. */
const BY_BYTE: ReadonlyMap<number, Status> = new Map([
  ...DONE_STATUSES.map((status, at) => [at, status] as const),
  ...REFUSAL_REASONS.map((reason, at) => [0x10 + at, reason] as const),
])

export function statusOf(byte: number): Status | undefined {
  return BY_BYTE.get(byte)
}

export function isRefusal(status: Status): status is RefusalReason {
  return (REFUSAL_REASONS as readonly Status[]).includes(status)
}
