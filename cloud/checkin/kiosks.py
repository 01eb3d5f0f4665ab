"""Kiosks: screens of the house that may find a booking by its code and name, and visits there.

A kiosk's token lies on a machine in the lobby: with it nothing can be read, only a visit begun by who knows a booking's
code and the name on it, and not by trying many. A visit is a guest's link of one stay that gives no keys and ends by
itself, at the guest's word, or when the kiosk's next guest comes.
"""

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cloud.checkin import links
from cloud.kit.database import Connection, Database, execute, fetch_all
from cloud.kit.times import at
from cloud.platform.properties import Property
from cloud.stays.listing import Stay, stay_by_id
from kit.dice import Dice
from protocols.errors import PlatformError
from protocols.policy.proofs import is_in_name

PREFIX: Final = "ikk_"
TOKEN_CHARACTERS: Final = len(PREFIX) + 43
VISIT_MS: Final = 30 * 60_000
"""How long a visit lasts at most; the page ends it after five minutes in which nobody touches it."""
KIOSKS_MOST: Final = 50
MATCHES_MOST: Final = 20


class KiosksFullError(PlatformError):
    """The house has as many kiosks as it may."""


@dataclass(frozen=True, slots=True)
class Kiosk:
    """One kiosk."""

    id: str
    tenant: str
    property: str
    name: str
    made_by: str
    made_at: datetime


async def make(
    connection: Connection, place: Property, *, name: str, by: str, dice: Dice, now_ms: int
) -> tuple[Kiosk, str]:
    """Make a kiosk; return it with its token, which is kept nowhere.

    Raises:
        KiosksFullError: end one first.
    """
    if len(await of_property(connection, place)) >= KIOSKS_MOST:
        raise KiosksFullError(f"This house has {KIOSKS_MOST} kiosks; end one first.")
    token = PREFIX + base64.urlsafe_b64encode(dice.bytes(links.TOKEN_BYTES)).rstrip(b"=").decode()
    kiosk = Kiosk(f"k-{dice.bytes(8).hex()}", place.tenant, place.id, name, by, at(now_ms))
    await execute(
        connection,
        "INSERT INTO checkin.kiosk (id, tenant, property, name, sha256, made_by, made_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s)",
        [kiosk.id, kiosk.tenant, kiosk.property, name, _digest(token), by, kiosk.made_at],
    )
    return kiosk, token


async def of_property(connection: Connection, place: Property) -> list[Kiosk]:
    """Return the kiosks of a house that are in use."""
    rows = await fetch_all(
        connection,
        "SELECT id, tenant, property, name, made_by, made_at FROM checkin.kiosk"
        " WHERE tenant = %s AND property = %s AND ended_at IS NULL ORDER BY name, made_at, id",
        [place.tenant, place.id],
    )
    return [Kiosk(**row) for row in rows]


async def end(connection: Connection, place: Property, kiosk: str, *, now_ms: int) -> bool:
    """End a kiosk and every visit there; False: there is none of this id."""
    ended = await execute(
        connection,
        "UPDATE checkin.kiosk SET ended_at = %s WHERE tenant = %s AND property = %s AND id = %s AND ended_at IS NULL",
        [at(now_ms), place.tenant, place.id, kiosk],
    )
    await end_visits(connection, kiosk, now_ms=now_ms)
    return ended == 1


async def who(database: Database, token: str) -> Kiosk | None:
    """Return whose token this is; None: nobody's, or an ended kiosk's."""
    if len(token) != TOKEN_CHARACTERS:
        return None
    rows = await database.ask(
        "SELECT id, tenant, property, name, made_by, made_at FROM checkin.kiosk WHERE sha256 = %s AND ended_at IS NULL",
        [_digest(token)],
    )
    return Kiosk(**rows[0]) if rows else None


async def find(connection: Connection, place: Property, *, code: str, surname: str) -> Stay | None:
    """Return the stay of a booking's code that is in this name; None: there is none, whichever of the two is wrong."""
    rows = await fetch_all(
        connection,
        """SELECT s.id, s.guest_name FROM stays.stay s JOIN stays.reservation r USING (property, system, external_id)
            WHERE s.tenant = %s AND s.property = %s AND s.state IN ('planned', 'ready', 'in_house')
              AND lower(coalesce(r.number, r.external_id)) = lower(%s) ORDER BY s.expected_from, s.id LIMIT %s""",
        [place.tenant, place.id, code.strip(), MATCHES_MOST],
    )
    for row in rows:
        if is_in_name(row["guest_name"], surname):
            return await stay_by_id(connection, tenant=place.tenant, property_id=place.id, stay=row["id"])
    return None


async def begin_visit(
    connection: Connection, place: Property, stay: Stay, kiosk: str, *, dice: Dice, now_ms: int
) -> tuple[str, datetime]:
    """Begin a visit, and end the one before at this kiosk; return its token and when it ends."""
    await end_visits(connection, kiosk, now_ms=now_ms)
    token = links.PREFIX + base64.urlsafe_b64encode(dice.bytes(links.TOKEN_BYTES)).rstrip(b"=").decode()
    until = at(now_ms + VISIT_MS)
    await execute(
        connection,
        "INSERT INTO checkin.guest_link (sha256, tenant, property, stay, made_by, made_at, expires_at, kiosk)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        [_digest(token), place.tenant, place.id, stay.id, f"kiosk:{kiosk}", at(now_ms), until, kiosk],
    )
    return token, until


async def end_visits(connection: Connection, kiosk: str, *, now_ms: int) -> None:
    """End whatever visit there is at a kiosk."""
    await execute(
        connection,
        "UPDATE checkin.guest_link SET ended_at = %s WHERE kiosk = %s AND ended_at IS NULL",
        [at(now_ms), kiosk],
    )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
