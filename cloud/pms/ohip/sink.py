"""Keeps what a chain's event stream told: hints of each of its properties, and where the stream was left.

Both in one transaction, so that an event is either stored or told again. The properties of a chain are written
together; one whose offset is not the others' was not listened to for a while, and has a gap of its own.
"""

from collections.abc import Iterable, Mapping, Sequence

from cloud.kit.database import Connection, Database, execute, fetch_all
from cloud.kit.notify import notify
from cloud.kit.times import at, unix_ms
from cloud.pms import hints
from cloud.pms.ohip.consumer import Stored, by_hotel
from cloud.pms.port import Hint
from kit.clock import Clock

SYSTEM = "ohip"


class ChainSink:
    """The properties of one chain.

    Args:
        hotels: our property by the hotelId of each.
    """

    def __init__(self, database: Database, hotels: Mapping[str, str], *, clock: Clock) -> None:
        self._database, self._hotels, self._clock = database, dict(hotels), clock
        self._properties = sorted(self._hotels.values())

    async def stored(self) -> Stored:
        """See EventSink."""
        async with self._database.transaction() as connection:
            rows = await fetch_all(
                connection,
                """SELECT property, stream_offset, stream_at FROM pms.connection
                    WHERE system = %s AND property = ANY(%s) AND stream_offset IS NOT NULL ORDER BY stream_at DESC""",
                [SYSTEM, self._properties],
            )
            if not rows:
                return Stored(None, None)
            newest = rows[0]
            behind = [row["property"] for row in rows if row["stream_offset"] != newest["stream_offset"]]
            await self._keep(connection, {each: [hints.EVERYTHING] for each in behind})
        return Stored(newest["stream_offset"], unix_ms(newest["stream_at"]))

    async def take(self, heard: Sequence[tuple[str | None, Hint]], *, offset: str | None) -> None:
        """See EventSink."""
        found: dict[str, dict[Hint, None]] = {}
        for hotel, hint in heard:
            for each in by_hotel(self._hotels, hotel):
                found.setdefault(each, {})[hint] = None
        async with self._database.transaction() as connection:
            await self._keep(connection, found)
            await execute(
                connection,
                "UPDATE pms.connection SET stream_offset = %s, stream_at = %s WHERE system = %s AND property = ANY(%s)",
                [offset, at(self._clock.wall_ms()), SYSTEM, self._properties],
            )

    async def lost(self, why: str) -> None:  # noqa: ARG002 - the consumer has logged it
        """See EventSink."""
        async with self._database.transaction() as connection:
            await self._keep(connection, {each: [hints.EVERYTHING] for each in self._properties})

    async def _keep(self, connection: Connection, found: Mapping[str, Iterable[Hint]]) -> None:
        now_ms = self._clock.wall_ms()
        for each, told in found.items():
            await hints.store(connection, property_id=each, system=SYSTEM, hints=told, now_ms=now_ms)
        if found:
            await notify(connection, hints.HINT_CHANNEL)
