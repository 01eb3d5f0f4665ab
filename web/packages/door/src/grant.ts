/**
 * The grant as its holder reads it (protocols/grant/SPEC.md 3 to 5): who signed it, for which phone, from when until when.
 *
 * A phone has no CA key, so it believes nobody more for this; it learns early what the lock would say later (a grant of
 * another phone, a damaged link, a version from the future). The lock alone judges.
 */
import { type Bytes, concat, equal, hex, utf8 } from './bytes'
import { decode, encode, type Value, type ValueMap } from './cbor'
import { parse1, SIGNATURE_BYTES, type Sign1, verify1 } from './cose'
import { CredentialRefusedError, PeerProtocolError } from './errors'
import { POINT_BYTES, uncompressed } from './point'
import { sha256, verifyEs256 } from './primitives'

/** No certificate, grant or signed object is longer. */
export const SIGNED_BYTES_MOST = 896
const GRANT_ID_BYTES = 8
const ROOMS_MOST = 40
const RANGES_MOST = 16
const ROOM_MOST = 0xffff
const GENERATION_MOST = 0xff_ffff
const MINUTES_MOST = 24 * 60 - 1
const LIFE_HOURS_MOST = 72
const SECONDS_MOST = 2 ** 32 - 1
const ZONES_MOST = 2n ** 64n - 1n

const CLAIM = { EXP: 4, NBF: 5, IAT: 6, CTI: 7, PRIVATE: -65_537 } as const
const FIELD = { VERSION: 0, ROOMS: 1, RANGES: 2, ZONES: 3, GENERATION: 4, FLAGS: 5, PHONE: 6, SHIFT: 7, USES: 8, APPROVALS: 9, LIFE: 10 } as const
const CERTIFICATE_FIELD = { CLASS: 1, SIGNS_UNTIL: 2, POINT: 3, OFFICERS: 4 } as const
const FLAG = { JOIN: 1, ONE_SHOT: 2, PRIVACY_OVERRIDE: 4, PASSAGE: 8, NEEDS_USER_VERIFICATION: 16, EMERGENCY: 32, STAFF: 128 } as const
const KNOWN_FLAGS = Object.values(FLAG).reduce((all, flag) => all | flag, 0)
const EMERGENCY_CLASS = 3
const OFFICERS_LEAST = 2
const OFFICERS_MOST = 8
const APPROVALS = 2
const KID_BYTES = 4
const DIGEST_BYTES = 32
const APPROVE_LABEL = utf8('innkeeper/grant/1 approve\0')

/** Working hours in UTC; bit 0 of `days` is Monday. */
export interface Shift {
  days: number
  fromMinute: number
  toMinute: number
}

/** A right to open doors, held by the phone whose compressed key is `phone`. Times are unix seconds UTC. */
export interface Grant {
  grantId: string
  issuedAtS: number
  notBeforeS: number
  notAfterS: number
  phone: Bytes
  rooms: number[]
  ranges: [number, number][]
  zones: bigint
  generation: number
  isJoiner: boolean
  isOneShot: boolean
  needsUserVerification: boolean
  overridesPrivacy: boolean
  /** May latch a common door open for a while. */
  mayLatch: boolean
  isEmergency: boolean
  isStaff: boolean
  shift: Shift | null
  usesMost: number | null
  /** A failsafe key: so many hours from its first opening of a door. */
  lifeHours: number | null
  /** Emergency: the two officers who approved it; their signatures are verified. */
  approvals: Approval[]
}

/** An officer's signature under every claim of an emergency grant. */
export interface Approval {
  kid: Bytes
  signature: Bytes
}

/** An issuer's certificate, unverified: its key, the id by which grants name it, and an emergency issuer's officers. */
export interface Issuer {
  point: Bytes
  kid: Bytes
  issuerClass: number
  officers: Bytes[]
}

/** Read an issuer certificate. Throws CredentialRefusedError: malformed, unsupported_version. */
export async function readIssuer(encoded: Uint8Array): Promise<Issuer> {
  const { payload } = parsed(encoded)
  const fields = new Set<number>(Object.values(CERTIFICATE_FIELD))
  const found = claimsOf(payload, new Set([CLAIM.EXP, CLAIM.NBF, CLAIM.IAT]), fields)
  const point = octets(found.private.get(CERTIFICATE_FIELD.POINT), POINT_BYTES)
  onCurve(point)
  whole(found.private.get(CERTIFICATE_FIELD.SIGNS_UNTIL), SECONDS_MOST)
  const issuerClass = whole(found.private.get(CERTIFICATE_FIELD.CLASS), 4, 1)
  return { point, kid: await kidOf(point), issuerClass, officers: await officersOf(found.private.get(CERTIFICATE_FIELD.OFFICERS), issuerClass) }
}

const kidOf = async (point: Bytes): Promise<Bytes> => (await sha256(point)).slice(0, KID_BYTES)

async function officersOf(value: Value | undefined, issuerClass: number): Promise<Bytes[]> {
  if (issuerClass !== EMERGENCY_CLASS) {
    if (value !== undefined) throw new CredentialRefusedError('not_allowed')
    return []
  }
  const officers = listOf(value ?? [], OFFICERS_MOST).map((each) => octets(each, POINT_BYTES))
  officers.forEach(onCurve)
  const kids = new Set((await Promise.all(officers.map(kidOf))).map(hex))
  if (officers.length < OFFICERS_LEAST || kids.size !== officers.length || !isRising(officers)) throw malformed()
  return officers
}

const isRising = (list: Bytes[]): boolean => list.every((each, at) => at === 0 || hex(list[at - 1]!) <= hex(each))

/** The key id that a signed object names, unverified. Throws CredentialRefusedError: malformed. */
export function issuerKid(encoded: Uint8Array): Bytes {
  return parsed(encoded).kid
}

/**
 * Read a grant that `issuer` signed.
 *
 * Throws CredentialRefusedError: unknown_issuer (another key signed it), bad_signature, unsupported_version, malformed.
 */
export async function readGrant(encoded: Uint8Array, issuer: Issuer): Promise<Grant> {
  const message = parsed(encoded)
  if (!equal(message.kid, issuer.kid)) throw new CredentialRefusedError('unknown_issuer')
  const payload = await verify1(message, issuer.point)
  const fields = new Set<number>(Object.values(FIELD))
  const found = claimsOf(payload, new Set([CLAIM.EXP, CLAIM.NBF, CLAIM.IAT, CLAIM.CTI]), fields)
  const field = found.private
  const flags = absentOr(field.get(FIELD.FLAGS), (value) => whole(value, SECONDS_MOST, 1)) ?? 0
  if ((flags & ~KNOWN_FLAGS) !== 0) throw new CredentialRefusedError('unsupported_version')
  const phone = octets(field.get(FIELD.PHONE), POINT_BYTES)
  onCurve(phone)
  const grant: Grant = {
    grantId: hex(octets(found.claims.get(CLAIM.CTI), GRANT_ID_BYTES)),
    issuedAtS: whole(found.claims.get(CLAIM.IAT), SECONDS_MOST),
    notBeforeS: whole(found.claims.get(CLAIM.NBF), SECONDS_MOST),
    notAfterS: whole(found.claims.get(CLAIM.EXP), SECONDS_MOST),
    phone,
    rooms: absentOr(field.get(FIELD.ROOMS), roomsOf) ?? [],
    ranges: absentOr(field.get(FIELD.RANGES), rangesOf) ?? [],
    zones: absentOr(field.get(FIELD.ZONES), (value) => wholeBig(value, ZONES_MOST, 1n)) ?? 0n,
    generation: absentOr(field.get(FIELD.GENERATION), (value) => whole(value, GENERATION_MOST, 1)) ?? 0,
    isJoiner: (flags & FLAG.JOIN) !== 0,
    isOneShot: (flags & FLAG.ONE_SHOT) !== 0,
    needsUserVerification: (flags & FLAG.NEEDS_USER_VERIFICATION) !== 0,
    overridesPrivacy: (flags & FLAG.PRIVACY_OVERRIDE) !== 0,
    mayLatch: (flags & FLAG.PASSAGE) !== 0,
    isEmergency: (flags & FLAG.EMERGENCY) !== 0,
    isStaff: (flags & FLAG.STAFF) !== 0,
    shift: absentOr(field.get(FIELD.SHIFT), shiftOf) ?? null,
    usesMost: absentOr(field.get(FIELD.USES), (value) => whole(value, 0xffff, 1)) ?? null,
    lifeHours: absentOr(field.get(FIELD.LIFE), (value) => whole(value, LIFE_HOURS_MOST, 1)) ?? null,
    approvals: absentOr(field.get(FIELD.APPROVALS), approvalsOf) ?? [],
  }
  if (grant.notAfterS <= grant.notBeforeS) throw malformed()
  if (issuer.issuerClass === EMERGENCY_CLASS) await approved(grant, issuer, found)
  return grant
}

/** Throws CredentialRefusedError: not_allowed (not two different officers), bad_signature. */
async function approved(grant: Grant, issuer: Issuer, found: Claims): Promise<void> {
  const officers = new Map(await Promise.all(issuer.officers.map(async (point) => [hex(await kidOf(point)), point] as const)))
  const kids = new Set(grant.approvals.map(({ kid }) => hex(kid)))
  if (grant.approvals.length !== APPROVALS || kids.size !== APPROVALS || ![...kids].every((kid) => officers.has(kid))) throw new CredentialRefusedError('not_allowed')
  const draft = new Map([...found.private].filter(([key]) => key !== FIELD.APPROVALS))
  const statement = concat(APPROVE_LABEL, await sha256(encode(new Map([...found.claims, [CLAIM.PRIVATE, draft]]))))
  for (const { kid, signature } of grant.approvals) {
    if (!(await verifyEs256(officers.get(hex(kid))!, signature, statement))) throw new CredentialRefusedError('bad_signature')
  }
}

/** Whether these bytes are what an officer's approval of some emergency key is signed over, and nothing else that a key signs. */
export const isApprovalStatement = (statement: Uint8Array): boolean =>
  statement.length === APPROVE_LABEL.length + DIGEST_BYTES && equal(statement.subarray(0, APPROVE_LABEL.length), APPROVE_LABEL)

interface Claims {
  claims: ValueMap
  private: ValueMap
}

/** The claims that must be there, no other, and the private map, of which every field is critical. */
function claimsOf(payload: Bytes, known: ReadonlySet<number>, fields: ReadonlySet<number>): Claims {
  const claims: Value = orMalformed(() => decode(payload, SIGNED_BYTES_MOST))
  const held = claims instanceof Map ? claims.get(CLAIM.PRIVATE) : undefined
  if (!(claims instanceof Map) || !(held instanceof Map)) throw malformed()
  const isKnown = (key: unknown): boolean => typeof key === 'number' && (key === FIELD.VERSION || fields.has(key))
  if (held.get(FIELD.VERSION) !== 1 || ![...held.keys()].every(isKnown)) throw new CredentialRefusedError('unsupported_version')
  if (claims.size !== known.size + 1 || ![...known].every((key) => claims.has(key))) throw malformed()
  return { claims, private: held }
}

const parsed = (encoded: Uint8Array): Sign1 => orMalformed(() => parse1(encoded, SIGNED_BYTES_MOST))
const onCurve = (point: Bytes): Bytes => orMalformed(() => uncompressed(point))

/** What is not even of the protocol's form is, to the holder of a grant, a malformed grant. */
function orMalformed<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (error instanceof PeerProtocolError) throw malformed()
    throw error
  }
}

/** A field at its default is left out; written out it is malformed, which the readers' least values see to. */
function absentOr<T>(value: Value | undefined, read: (value: Value) => T): T | undefined {
  return value === undefined ? undefined : read(value)
}

function whole(value: Value | undefined, most: number, least = 0): number {
  if (typeof value !== 'number' || value < least || value > most) throw malformed()
  return value
}

function wholeBig(value: Value, most: bigint, least: bigint): bigint {
  if (typeof value !== 'number' && typeof value !== 'bigint') throw malformed()
  const big = BigInt(value)
  if (big < least || big > most) throw malformed()
  return big
}

function octets(value: Value | undefined, size: number): Bytes {
  if (!(value instanceof Uint8Array) || value.length !== size) throw malformed()
  return value
}

function listOf(value: Value, most: number): Value[] {
  if (!Array.isArray(value) || value.length < 1 || value.length > most) throw malformed()
  return value
}

function roomsOf(value: Value): number[] {
  const rooms = listOf(value, ROOMS_MOST).map((room) => whole(room, ROOM_MOST, 1))
  if (rooms.some((room, at) => at > 0 && room <= rooms[at - 1]!)) throw malformed()
  return rooms
}

function rangesOf(value: Value): [number, number][] {
  return listOf(value, RANGES_MOST).map((pair) => {
    const [first, last] = numbers(pair, 2)
    if (!(first! >= 1 && first! <= last! && last! <= ROOM_MOST)) throw malformed()
    return [first!, last!]
  })
}

function shiftOf(value: Value): Shift {
  const [days, fromMinute, toMinute] = numbers(value, 3)
  if (!(days! >= 1 && days! <= 127 && fromMinute! <= MINUTES_MOST && toMinute! <= MINUTES_MOST)) throw malformed()
  return { days: days!, fromMinute: fromMinute!, toMinute: toMinute! }
}

function approvalsOf(value: Value): Approval[] {
  const approvals = listOf(value, APPROVALS).map((pair): Approval => {
    if (!Array.isArray(pair) || pair.length !== 2) throw malformed()
    return { kid: octets(pair[0], KID_BYTES), signature: octets(pair[1], SIGNATURE_BYTES) }
  })
  if (!isRising(approvals.map(({ kid }) => kid))) throw malformed()
  return approvals
}

function numbers(value: Value, count: number): number[] {
  if (!Array.isArray(value) || value.length !== count) throw malformed()
  return value.map((each) => whole(each, SECONDS_MOST))
}

function malformed(): CredentialRefusedError {
  return new CredentialRefusedError('malformed')
}
