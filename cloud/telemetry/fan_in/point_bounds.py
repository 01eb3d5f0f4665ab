"""How many points a property may have among the newest values: a building that makes devices up fills no table.

Source of truth: docs/decisions/0112. Costs a look into a set a point and group while nothing new is heard; a point that
this process has not met costs a look into `telemetry.latest`. What goes beyond is named by how much it is, and is not
shown; its records are in the ledger all the same. Series are bounded where they are made
(`cloud.telemetry.store.writing`).
"""

from collections.abc import Iterable
from itertools import filterfalse
from typing import Final

from cloud.kit.arrays import texts
from cloud.kit.database import Connection, fetch_all
from cloud.telemetry.fan_in.newest import NewestValues, Point

POINTS_MOST: Final = 50_000
"""Of a property: 300 rooms have some 6,000."""
KNOWN_MOST: Final = 1_000_000
"""Points remembered by one process."""


class PointBounds:
    """Knows which points are there.

    Args:
        most: points of a property.
    """

    def __init__(self, most: int = POINTS_MOST) -> None:
        self._most = most
        self._known: set[Point] = set()

    async def cut(self, connection: Connection, values: NewestValues) -> dict[str, int]:
        """Take from `values` what goes beyond a property's bound; return how many points that were, by property."""
        new = sorted(filterfalse(self._known.__contains__, values.points))  # one hash a point: `-` would take two
        if not new:
            return {}
        there, counts = await self._look(connection, new)
        beyond: dict[str, int] = {}
        for point in filterfalse(there.__contains__, new):
            property_id = point[0]
            if counts.get(property_id, 0) >= self._most:
                del values.points[point]
                beyond[property_id] = beyond.get(property_id, 0) + 1
            else:
                counts[property_id] = counts.get(property_id, 0) + 1
        self._remember(there)  # what is new now is remembered when it is found: this transaction may yet roll back
        return beyond

    async def _look(self, connection: Connection, points: list[Point]) -> tuple[set[Point], dict[str, int]]:
        columns = [texts(column) for column in zip(*points, strict=True)]
        rows = await fetch_all(
            connection,
            """SELECT l.property, l.device, l.capability, l.attribute
                 FROM unnest(%s, %s, %s, %s) AS asked (property, device, capability, attribute)
                 JOIN telemetry.latest l USING (property, device, capability, attribute)""",
            columns,
        )
        there = {(row["property"], row["device"], row["capability"], row["attribute"]) for row in rows}
        if len(there) == len(points):
            return there, {}
        counted = await fetch_all(
            connection,
            """SELECT asked.property, (SELECT count(*) FROM (
                          SELECT FROM telemetry.latest l WHERE l.property = asked.property LIMIT %s) AS few) AS count
                 FROM unnest(%s) AS asked (property)""",
            [self._most, texts(sorted({point[0] for point in points if point not in there}))],
        )
        return there, {row["property"]: row["count"] for row in counted}

    def _remember(self, points: Iterable[Point]) -> None:
        if len(self._known) > KNOWN_MOST:
            self._known.clear()
        self._known.update(points)
