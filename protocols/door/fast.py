"""FAST: what a phone and a lock that met before keep of each other, so that the next visit takes no public-key work.

Source of truth: SPEC.md section 10. One secret a phone and lock; each use replaces it (the ratchet), so a captured
exchange is worth nothing. The lock keeps one step back, because its last answer may have been lost. Whatever speaks
against opening sends the phone to the full exchange: FAST has one outcome only, and every refusal one path only.
"""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from protocols.cbor import Value
from protocols.door.advert import derive
from protocols.door.session import Direction, SessionKeys
from protocols.errors import PeerProtocolError
from protocols.grant.certificate import IssuerCertificate
from protocols.grant.grant import Grant, GrantFlag, Shift
from protocols.grant.judge import uses_allowed
from protocols.grant.keys import DAY_S, IssuerClass

SECRET_BYTES: Final = 32
ID_BYTES: Final = 8
TAG_BYTES: Final = 16
FAST_BYTES: Final = 1 + ID_BYTES + 1 + TAG_BYTES
PASSES_ROOM_MOST: Final = 32
PASSES_COMMON_MOST: Final = 128
USES_MOST: Final = 50
"""Then a full exchange brings fresh Diffie-Hellman: a secret that leaked is worth no more than this."""
LIFE_S: Final = 7 * DAY_S

_TRANSCRIPT_LABEL: Final = b"innkeeper/door/1 fast transcript\x00"


def fast_id(secret: bytes, lock_id: bytes) -> bytes:
    """Return the 8 bytes by which the lock finds a secret. They change with it: two visits show nothing in common."""
    return derive(secret, lock_id, b"fast id", ID_BYTES)


@dataclass(slots=True, repr=False)
class FastKeys:
    """What one secret yields for one challenge: the proof, the session, and the secret that replaces it."""

    tag: Final[bytes]
    session: Final[SessionKeys]
    following: Final[bytes]


def fast_keys(secret: bytes, lock_id: bytes, s_lock: bytes, challenge: bytes, head: bytes) -> FastKeys:
    """Derive everything of a FAST exchange.

    Args:
        secret: 32 bytes, both sides'.
        lock_id: The lock's.
        s_lock: Its static key, compressed.
        challenge: CHAL as sent.
        head: The message up to its tag: kind, id, user verified.
    """
    transcript = hashlib.sha256(_TRANSCRIPT_LABEL + lock_id + s_lock + challenge + head).digest()
    stream = derive(secret, transcript, b"fast", TAG_BYTES + 3 * SECRET_BYTES)
    tag, to_lock, to_phone, following = stream[:16], stream[16:48], stream[48:80], stream[80:112]
    return FastKeys(tag, SessionKeys(transcript, Direction(to_lock), Direction(to_phone), b""), following)


@dataclass(frozen=True, slots=True, repr=False)
class Resumption:
    """What the phone keeps of one lock. Secret, good for USES_MOST openings in LIFE_S at most."""

    secret: bytes


@dataclass(frozen=True, slots=True, repr=False)
class Pass:
    """What the lock keeps of one phone: the secret, one step back, and of its grant all that is judged again.

    Attributes:
        secret: The current secret, 32 bytes.
        before: The one before, empty until the first use: the phone has it if the last answer was lost.
        ids: The ids of both, so that looking one up costs nothing.
        made_at_s: Unix seconds of the full exchange.
        uses_left: Openings left before the next full exchange.
        grant: Without phone key; names this door alone.
        issuer: Its issuer's windows; without key.
    """

    secret: bytes
    before: bytes
    ids: tuple[bytes, ...]
    made_at_s: int
    uses_left: int
    grant: Grant
    issuer: IssuerCertificate

    def used(self, spent: bytes, following: bytes, lock_id: bytes) -> "Pass":
        """Return it after an opening with the secret `spent`, which `following` replaces."""
        spent_id = self.ids[0] if hmac.compare_digest(spent, self.secret) else self.ids[1]
        ids = (fast_id(following, lock_id), spent_id)
        return Pass(following, spent, ids, self.made_at_s, self.uses_left - 1, self.grant, self.issuer)

    def lives(self, now_s: int) -> bool:
        """Whether it may be used at `now_s`; a clock that was set back ends it too."""
        return self.uses_left > 0 and 0 <= now_s - self.made_at_s < LIFE_S

    def to_value(self) -> list[object]:
        """Return it as the lock's memory holds it."""
        grant, issuer, shift = self.grant, self.issuer, self.grant.shift
        return [
            [self.secret, self.before],
            list(self.ids),
            [self.made_at_s, self.uses_left],
            [grant.grant_id, grant.issued_at_s, grant.not_before_s, grant.not_after_s],
            [sum(grant.rooms), grant.zones, grant.generation, int(grant.flags)],
            [] if shift is None else [shift.days, shift.from_minute, shift.to_minute],
            [int(issuer.issuer_class), issuer.not_before_s, issuer.signs_until_s, issuer.not_after_s],
        ]


def new_pass(
    secret: bytes, grant: Grant, issuer: IssuerCertificate, *, room: int, zones: int, lock_id: bytes, at_s: int
) -> Pass | None:
    """Return the pass of a grant that has just opened the door of `room` or `zones`; None: its kind gets none.

    A limited or failsafe grant gets none, because its uses or hours are judged under its signature; an emergency grant
    none either.
    """
    if (
        grant.life_hours is not None
        or uses_allowed(grant) is not None
        or issuer.issuer_class not in (IssuerClass.GUEST, IssuerClass.STAFF)
    ):
        return None
    return Pass(
        secret=secret,
        before=b"",
        ids=(fast_id(secret, lock_id),),
        made_at_s=at_s,
        uses_left=USES_MOST,
        grant=_here(grant, room, zones),
        issuer=replace(issuer, issued_at_s=issuer.not_before_s, point=b"", encoded=b""),
    )


def _here(grant: Grant, room: int, zones: int) -> Grant:
    rooms = (room,) if room and grant.names(room) else ()
    return replace(grant, phone=b"", rooms=rooms, ranges=(), zones=grant.zones & zones)


def with_pass(passes: Iterable[Pass], added: Pass, *, now_s: int, most: int) -> tuple[Pass, ...]:
    """Return `passes` with `added` as the newest: it replaces its grant's, and the one used longest ago if need be."""
    others = (each for each in passes if each.grant.grant_id != added.grant.grant_id and each.lives(now_s))
    return (*others, added)[-most:]


def still_good(passes: Iterable[Pass], *, generation: int, revoked: Iterable[bytes]) -> tuple[Pass, ...]:
    """Return the passes that survive a new generation or revocation list."""
    gone = frozenset(revoked)

    def holds(each: Pass) -> bool:
        counts = bool(each.grant.rooms) and each.issuer.issuer_class is IssuerClass.GUEST
        return each.grant.grant_id not in gone and not (counts and each.grant.generation < generation)

    return tuple(each for each in passes if holds(each))


def found(passes: Iterable[Pass], sought: bytes) -> tuple[Pass, bytes] | None:
    """Return the pass with the id `sought` and the secret that it stands for."""
    for each in passes:
        if sought in each.ids:
            return each, each.secret if sought == each.ids[0] else each.before
    return None


def proves(keys: FastKeys, tag: bytes) -> bool:
    """Whether `tag` is the one that only the holder of the secret can make; in constant time."""
    return hmac.compare_digest(keys.tag, tag)


def pass_of(value: Value) -> Pass:
    """Read what `Pass.to_value` wrote.

    Raises:
        PeerProtocolError: it did not write this.
    """
    match value:
        case [
            [bytes() as secret, bytes() as before],
            [*ids],
            [int() as made_at_s, int() as uses_left],
            [bytes() as grant_id, int() as issued_at_s, int() as not_before_s, int() as not_after_s],
            [int() as room, int() as zones, int() as generation, int() as flags],
            [*shift],
            [int() as issuer_class, int() as from_s, int() as signs_until_s, int() as until_s],
        ] if len(secret) == SECRET_BYTES and len(before) in (0, SECRET_BYTES) and issuer_class in set(IssuerClass):
            pass
        case _:
            raise PeerProtocolError("not a lock's memory of version 2: a pass")
    return Pass(
        secret=secret,
        before=before,
        ids=tuple(each for each in ids if isinstance(each, bytes)),
        made_at_s=made_at_s,
        uses_left=uses_left,
        grant=Grant(
            grant_id=grant_id,
            issued_at_s=issued_at_s,
            not_before_s=not_before_s,
            not_after_s=not_after_s,
            phone=b"",
            rooms=(room,) if room else (),
            zones=zones,
            generation=generation,
            flags=GrantFlag(flags),
            shift=_shift(shift),
        ),
        issuer=IssuerCertificate(IssuerClass(issuer_class), from_s, from_s, signs_until_s, until_s, b"", b""),
    )


def _shift(value: list[Value]) -> Shift | None:
    match value:
        case []:
            return None
        case [int() as days, int() as start, int() as end]:
            return Shift(days, start, end)
        case _:
            raise PeerProtocolError("not a lock's memory of version 2: a shift")
