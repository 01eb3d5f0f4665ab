"""The newest values of a property: pages of them, and what changed since a mark."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cloud.kit.database import Connection, fetch_all, fetch_one
from cloud.telemetry.store.port import Selection
from protocols.errors import StoreFailedError

VALUES_MOST: Final = 100_000
"""Values of one property that a live stream keeps; a hotel of 1,000 rooms has 6,000."""
PAGE: Final = 5_000
"""Values read at a time."""


@dataclass(frozen=True, slots=True)
class Newest:
    """One attribute's newest value. `writes` counts how often it was replaced; `source`: live or backlog."""

    room: str | None
    device: str
    capability: str
    attribute: str
    value: Any
    unit: str | None
    quality: str
    at: datetime
    source: str
    received_at: datetime
    writes: int

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is the value of."""
        return self.device, self.capability, self.attribute


_WHERE = """
     WHERE tenant = %(tenant)s AND property = %(property)s
       AND (%(room)s::text IS NULL OR room = %(room)s) AND (%(device)s::text IS NULL OR device = %(device)s)
       AND (%(capability)s::text IS NULL OR capability = %(capability)s)
       AND (%(attribute)s::text IS NULL OR attribute = %(attribute)s)
"""


def _parameters(selection: Selection) -> dict[str, object]:
    return {
        "tenant": selection.tenant,
        "property": selection.property,
        "room": selection.room,
        "device": selection.device,
        "capability": selection.capability,
        "attribute": selection.attribute,
    }


async def newest_page(
    connection: Connection, selection: Selection, *, after: tuple[str, str, str] | None, most: int
) -> list[Newest]:
    """Return up to `most` values after a key, in order of keys: a page stays whole whatever is written meanwhile."""
    device, capability, attribute = after or ("", "", "")
    rows = await fetch_all(
        connection,
        """
        SELECT room, device, capability, attribute, value, unit, quality, at, source, received_at, writes
          FROM telemetry.latest"""  # noqa: S608 - our own words
        + _WHERE
        + """ AND (device, capability, attribute) > (%(after_device)s, %(after_capability)s, %(after_attribute)s)
         ORDER BY device, capability, attribute LIMIT %(most)s
        """,
        {
            **_parameters(selection),
            "after_device": device,
            "after_capability": capability,
            "after_attribute": attribute,
            "most": most,
        },
    )
    return [Newest(**row) for row in rows]


async def changed_since(connection: Connection, tenant: str, property_id: str, mark: int) -> tuple[int, list[Newest]]:
    """Return (next mark, values that changed at or after `mark`); 0 asks for all. A value may come twice, none never.

    Raises:
        StoreFailedError: there are more than VALUES_MOST.
    """
    row = await fetch_one(connection, "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS mark")
    # a mark from before the values: transactions that commit in between are read now and once more next time
    next_mark = 0 if row is None else int(row["mark"])
    values: list[Newest] = []
    after = ("", "", "")
    while True:
        rows = await fetch_all(
            connection,
            """
            SELECT room, device, capability, attribute, value, unit, quality, at, source, received_at, writes
              FROM telemetry.latest
             WHERE tenant = %s AND property = %s AND changed >= %s AND (device, capability, attribute) > (%s, %s, %s)
             ORDER BY device, capability, attribute LIMIT %s
            """,
            [tenant, property_id, mark, *after, PAGE],
        )
        values += [Newest(**each) for each in rows]
        if len(values) > VALUES_MOST:
            raise StoreFailedError(f"{property_id} has more than {VALUES_MOST} values: ask for pages of them (/latest)")
        if len(rows) < PAGE:
            return next_mark, values
        after = values[-1].key


async def values_of_devices(
    connection: Connection, tenant: str, property_id: str, devices: Sequence[str]
) -> list[Newest]:
    """Return the newest values of some devices, changed or not: `changed_since` alone says up to which mark."""
    rows = await fetch_all(
        connection,
        """
        SELECT room, device, capability, attribute, value, unit, quality, at, source, received_at, writes
          FROM telemetry.latest WHERE tenant = %s AND property = %s AND device = ANY(%s)
         ORDER BY device, capability, attribute LIMIT %s
        """,
        [tenant, property_id, list(devices), VALUES_MOST],
    )
    return [Newest(**row) for row in rows]
