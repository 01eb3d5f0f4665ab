"""Hands on whose a PMS says its reservations are, to where guests are kept (cloud/guests).

In the transaction that writes down whose each reservation is: after the mirror, which stands without it, and before the
cursor moves, so that what was mirrored and not kept is read again. A key that does not open costs profiles, and
nobody's stay. What a guest booked before anybody kept him is found by the same id, as far back as guests are kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from cloud.guests.profile import SaidGuest
from cloud.guests.profiles import Profiles
from cloud.kit.database import Connection, fetch_all
from cloud.kit.times import at, unix_ms
from cloud.pms.port import PmsReservation
from cloud.privacy.sealing import NoKeysError
from cloud.privacy.wrapping import UnreadableError
from kit.clock import Clock

EVER: Final = timedelta(days=36_500)


@dataclass(frozen=True, slots=True)
class Recognition:
    """Keeps the profiles of those of whom a PMS tells. `kept`: for how long after a guest's last stay."""

    profiles: Profiles
    clock: Clock
    log: Any
    kept: timedelta

    async def keep(
        self,
        connection: Connection,
        *,
        tenant: str,
        property_id: str,
        system: str,
        said: Sequence[PmsReservation],
    ) -> None:
        """Keep whose reservations these are. One that names no guest's id is nobody's: a name is no person."""
        told = [
            SaidGuest(each.external_id, each.guest_external_id, each.guest_name, each.departure_ms)
            for each in said
            if each.guest_external_id is not None
        ]
        now_ms = self.clock.wall_ms()
        since_ms = now_ms - self.kept // timedelta(milliseconds=1)
        told += await _unbooked(connection, property_id, system, told, since_ms=since_ms)
        try:
            kept = await self.profiles.keep(
                connection,
                tenant=tenant,
                property_id=property_id,
                system=system,
                said=told,
                now_ms=now_ms,
            )
        except (NoKeysError, UnreadableError) as error:  # raised before anything was written
            self.log.warning("guests_not_kept", property=property_id, system=system, error=str(error))
            return
        if kept.unreadable:
            self.log.warning("guests_unreadable", property=property_id, system=system, ids=list(kept.unreadable))


async def _unbooked(
    connection: Connection, property_id: str, system: str, told: Sequence[SaidGuest], *, since_ms: int
) -> list[SaidGuest]:
    """Return what else these guests booked and of which it is not written down whose it is: ending after `since_ms`."""
    if not told:
        return []
    rows = await fetch_all(
        connection,
        """SELECT known.external_id, known.guest, r.departure_at
             FROM pms.guest_of known
             JOIN stays.reservation r ON r.property = known.property AND r.system = known.system
                                     AND r.external_id = known.external_id
             LEFT JOIN guests.booking b ON b.property = known.property AND b.system = known.system
                                       AND b.external_id = known.external_id
            WHERE known.property = %s AND known.system = %s AND known.guest = ANY(%s) AND r.departure_at > %s
              AND b.external_id IS NULL AND known.external_id <> ALL(%s)""",
        [
            property_id,
            system,
            sorted({each.guest for each in told}),
            at(since_ms),
            [each.reservation for each in told],
        ],
    )
    return [SaidGuest(row["external_id"], row["guest"], None, unix_ms(row["departure_at"])) for row in rows]
