"""Which guest each reservation of one connection is booked for, by the PMS's ids, and what a guest's change means.

Some systems tell that a profile has changed and not whose reservations that concerns, nor can they be asked for them.
So whoever reads a reservation writes down whose it is, and a hint at a guest becomes hints at the reservations that
hold him: read again one by one, as far as the partner's limits let us, and each as often as it takes. A guest whom
none of ours holds concerns nobody here: a reservation that is read later is read with the name it has then.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final

from cloud.kit.database import Connection, execute, fetch_all
from cloud.kit.times import at
from cloud.pms import hints
from cloud.pms.port import OF_GUEST, PART, Hint, PmsReservation
from cloud.stays.mirror import open_of

STAYED: Final = timedelta(days=2)
"""How long after his departure a guest's name still matters."""
AGAIN_MS: Final = 30_000


async def keep(
    connection: Connection, *, property_id: str, system: str, said: Iterable[PmsReservation], now_ms: int
) -> None:
    """Write down whose reservations these are. One that does not say keeps the guest that is known."""
    told = {each.external_id: each.guest_external_id for each in said if each.guest_external_id is not None}
    if told:
        await execute(
            connection,
            """INSERT INTO pms.guest_of AS known (property, system, external_id, guest, read_at)
               SELECT %s, %s, f.external_id, f.guest, %s
                 FROM unnest(%s::text[], %s::text[]) AS f (external_id, guest) ORDER BY f.external_id
               ON CONFLICT (property, system, external_id) DO UPDATE SET
                   guest = excluded.guest, read_at = excluded.read_at
                WHERE known.guest <> excluded.guest""",
            [property_id, system, at(now_ms), list(told), list(told.values())],
        )


async def followed(
    connection: Connection, *, property_id: str, system: str, rows: Sequence[hints.Row], now_ms: int
) -> int:
    """Turn hints at guests into hints at the open reservations that hold them, and return how many.

    Each is followed twice, the second time after `AGAIN_MS`: no list tells by time of change that a name is another,
    so a read that lags behind the change would stand until everything is compared. Done more often, it is the same.
    """
    about = [row for row in rows if is_guest(row)]
    held = await fetch_all(
        connection,
        "SELECT external_id FROM pms.guest_of WHERE property = %s AND system = %s AND guest = ANY(%s)",
        [property_id, system, [str(row["external_id"]).removeprefix(OF_GUEST) for row in about]],
    )
    found = await open_of(
        connection,
        property_id=property_id,
        system=system,
        ids=[row["external_id"] for row in held],
        since_ms=now_ms - STAYED // timedelta(milliseconds=1),
    )
    told = [Hint("reservation", each) for each in dict.fromkeys(each.partition(PART)[0] for each in found)]
    await hints.store(connection, property_id=property_id, system=system, hints=told, now_ms=now_ms)
    await hints.settled(
        connection, property_id=property_id, system=system, rows=[row for row in about if row["attempts"] > 0]
    )
    for row in about:
        if row["attempts"] == 0:
            await hints.wait_until(connection, property_id=property_id, system=system, row=row, at_ms=now_ms + AGAIN_MS)
    return len(told)


def is_guest(row: hints.Row) -> bool:
    """Tell whether a stored hint is about a guest."""
    return row["kind"] == "reservation" and str(row["external_id"]).startswith(OF_GUEST)
