"""Links that let one guest in to one stay, for one phone: below every role, and of no use for anything else.

Of a link's token only a digest is kept. The first phone that asks for keys with it is the only one that gets any: asked
again by that phone, over a line that broke, it answers again; by another, never (SEC-23).
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cloud.kit.database import Connection, Database, execute, fetch_one
from cloud.kit.times import at, unix_ms
from cloud.platform.properties import Property
from cloud.stays.life import ACTIVE
from cloud.stays.listing import Stay
from kit.dice import Dice
from protocols.errors import PlatformError

PREFIX: Final = "ikg_"
TOKEN_BYTES: Final = 32
TOKEN_CHARACTERS: Final = len(PREFIX) + 43
LINKS_MOST: Final = 10
"""Links of one stay that may be open at once: a family with a phone each."""
LINKS_OF_LETTERS: Final = 6
"""So many may be open where a letter still makes one: whatever becomes of letters, the desk has some to hand over."""


class LinkRefusedError(PlatformError):
    """No link can be made, or this one is not this phone's; says why."""


@dataclass(frozen=True, slots=True)
class Link:
    """Whom a token lets in."""

    id: str
    tenant: str
    property: str
    stay: str
    kiosk: str | None = None
    """The kiosk that the guest stands at; None: the link is his own."""


async def make(
    connection: Connection, place: Property, stay: Stay, *, by: str, dice: Dice, now_ms: int, most: int = LINKS_MOST
) -> tuple[str, datetime]:
    """Return a new token and when it ends, with the stay at the latest.

    Raises:
        LinkRefusedError: the stay is over, or has as many open links as it may.
    """
    if stay.state not in ACTIVE or now_ms >= unix_ms(stay.expected_until):
        raise LinkRefusedError("This stay is over: it gets no link.")
    row = await fetch_one(
        connection,
        "SELECT count(*) AS open FROM checkin.guest_link"
        " WHERE property = %s AND stay = %s AND kiosk IS NULL AND ended_at IS NULL AND expires_at > %s",
        [place.id, stay.id, at(now_ms)],
    )
    if row is not None and row["open"] >= most:
        raise LinkRefusedError(f"This stay has {row['open']} open links; end them first.")
    token = PREFIX + base64.urlsafe_b64encode(dice.bytes(TOKEN_BYTES)).rstrip(b"=").decode()
    await execute(
        connection,
        "INSERT INTO checkin.guest_link (sha256, tenant, property, stay, made_by, made_at, expires_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s)",
        [_digest(token), place.tenant, place.id, stay.id, by, at(now_ms), stay.expected_until],
    )
    return token, stay.expected_until


async def end_all(connection: Connection, place: Property, stay_id: str, *, now_ms: int) -> int:
    """End every open link of a stay; return how many. Keys that a phone holds already are the building's to end."""
    return await execute(
        connection,
        "UPDATE checkin.guest_link SET ended_at = %s WHERE property = %s AND stay = %s AND ended_at IS NULL",
        [at(now_ms), place.id, stay_id],
    )


async def end_one(connection: Connection, token: str, *, now_ms: int) -> None:
    """End a link that reached nobody."""
    await execute(
        connection,
        "UPDATE checkin.guest_link SET ended_at = %s WHERE sha256 = %s AND ended_at IS NULL",
        [at(now_ms), _digest(token)],
    )


async def who(database: Database, token: str, *, now_ms: int) -> Link | None:
    """Return whom a token lets in now. None: nobody, it has ended, or so has the stay.

    It lives as long as the stay does now: a phone whose guest stays on asks for the rest of his nights by it. A visit
    at a kiosk ends at its own time.
    """
    if len(token) != TOKEN_CHARACTERS:
        return None
    rows = await database.ask(
        """SELECT l.sha256, l.tenant, l.property, l.stay, l.kiosk FROM checkin.guest_link l
             JOIN stays.stay s ON s.property = l.property AND s.id = l.stay
            WHERE l.sha256 = %s AND l.ended_at IS NULL AND s.expected_until > %s AND s.state NOT IN ('left', 'void')
              AND (l.kiosk IS NULL OR l.expires_at > %s)""",
        [_digest(token), at(now_ms), at(now_ms)],
    )
    if not rows:
        return None
    row = rows[0]
    return Link(bytes(row["sha256"]).hex(), row["tenant"], row["property"], row["stay"], row["kiosk"])


async def phone_hash(connection: Connection, link: str) -> bytes | None:
    """Return the digest of the phone's key that a link is bound to (`bind`); None: it is no phone's yet."""
    row = await fetch_one(
        connection, "SELECT phone_hash FROM checkin.guest_link WHERE sha256 = %s", [bytes.fromhex(link)]
    )
    return None if row is None or row["phone_hash"] is None else bytes(row["phone_hash"])


async def end_of_phone(
    connection: Connection, place: Property, stay_id: str, *, phone_public_key: str, now_ms: int
) -> int:
    """End the open links of a stay that one phone uses; return how many."""
    return await execute(
        connection,
        "UPDATE checkin.guest_link SET ended_at = %s"
        " WHERE property = %s AND stay = %s AND phone_hash = %s AND ended_at IS NULL",
        [at(now_ms), place.id, stay_id, hashlib.sha256(phone_public_key.lower().encode()).digest()],
    )


async def bind(connection: Connection, link: str, *, phone_public_key: str, now_ms: int) -> None:
    """Make a link one phone's, or see that it is this one's.

    Raises:
        LinkRefusedError: another phone has used it.
    """
    digest = hashlib.sha256(phone_public_key.lower().encode()).digest()
    await execute(
        connection,
        "UPDATE checkin.guest_link SET phone_hash = %s, used_at = %s WHERE sha256 = %s AND phone_hash IS NULL",
        [digest, at(now_ms), bytes.fromhex(link)],
    )
    row = await fetch_one(
        connection, "SELECT phone_hash FROM checkin.guest_link WHERE sha256 = %s", [bytes.fromhex(link)]
    )
    if row is None or row["phone_hash"] is None or not hmac.compare_digest(bytes(row["phone_hash"]), digest):
        raise LinkRefusedError("This link was used by another phone; ask the front desk for a new one.")


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
