"""Alerts of the buildings: raised, cleared, lapsed. A projection of lane B records of kind `alert`.

The edge decides what is wrong and since when (edge/rooms/alerts.py); nothing is judged here. An alert is the same one
whenever its subject and the moment of its raising are. Each time an edge starts it tells which of its alerts stand:
what we hold as raised and it no longer knows, because its store was set aside, lapses. That is not
"cleared": nobody saw it end.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from cloud.kit.database import Connection, execute, fetch_all
from cloud.kit.times import at

ALERTS_MOST: Final = 500


class AlertState(StrEnum):
    """How an alert stands. LAPSED: its edge began anew, or raised it afresh, without having said that it was over."""

    RAISED = "raised"
    CLEARED = "cleared"
    LAPSED = "lapsed"


@dataclass(frozen=True, slots=True)
class AlertFact:
    """One alert raised or cleared. `cleared_at_ms`: None where it says "raised"."""

    kind: str
    room: str | None
    device: str | None
    number: int
    raised_at_ms: int
    cleared_at_ms: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class StandingFact:
    """What an edge holds at its start: the numbers under which the alerts were raised that are up."""

    numbers: frozenset[int]


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert as others may read it. `ended_at`: when it was cleared by the edge's clock, or lapsed by ours."""

    id: int
    kind: str
    room: str | None
    device: str | None
    raised_at: datetime
    detail: str
    state: AlertState
    ended_at: datetime | None
    received_at: datetime


async def apply_fact(
    connection: Connection, *, tenant: str, property_id: str, edge: str, fact: AlertFact | StandingFact, now_ms: int
) -> bool:
    """Take one record of an edge, in the order of its lane; the same again changes nothing. True: something changed."""
    if isinstance(fact, StandingFact):
        return await _lapse_others(connection, property_id, edge, fact, now_ms=now_ms)
    values = {
        "tenant": tenant,
        "property": property_id,
        "edge": edge,
        "kind": fact.kind,
        "room": fact.room or "",
        "device": fact.device or "",
        "number": fact.number,
        "raised_at": at(fact.raised_at_ms),
        "cleared_at": None if fact.cleared_at_ms is None else at(fact.cleared_at_ms),
        "detail": fact.detail,
        "now": at(now_ms),
        "state": (AlertState.RAISED if fact.cleared_at_ms is None else AlertState.CLEARED).value,
    }
    known = await fetch_all(
        connection,
        """SELECT id, state, raised_at FROM alerts.alert
            WHERE (property, edge, kind, room, device) = (%(property)s, %(edge)s, %(kind)s, %(room)s, %(device)s)
              AND (raised_at = %(raised_at)s OR state = 'raised') FOR UPDATE""",
        values,
    )
    same = next((row for row in known if row["raised_at"] == values["raised_at"]), None)
    if same is not None and (same["state"] == AlertState.CLEARED or values["state"] == same["state"]):
        return False
    for row in known:
        if row is not same and (fact.cleared_at_ms is None or row["raised_at"] < values["raised_at"]):
            # its end was never told: an edge has one alert up for a subject
            await _end(connection, row["id"], AlertState.LAPSED, now_ms=now_ms)
    if same is None:
        await execute(
            connection,
            """INSERT INTO alerts.alert (tenant, property, edge, kind, room, device, number, raised_at, cleared_at,
                                         detail, received_at, ended_at, state)
               VALUES (%(tenant)s, %(property)s, %(edge)s, %(kind)s, %(room)s, %(device)s, %(number)s, %(raised_at)s,
                       %(cleared_at)s, %(detail)s, %(now)s, %(cleared_at)s, %(state)s)""",
            values,
        )
    else:  # raised or lapsed before: the edge's own word on it, and on its end, counts
        await execute(
            connection,
            "UPDATE alerts.alert SET state = %(state)s, cleared_at = %(cleared_at)s, ended_at = %(cleared_at)s"
            " WHERE id = %(id)s",
            {**values, "id": same["id"]},
        )
    return True


async def _lapse_others(
    connection: Connection, property_id: str, edge: str, fact: StandingFact, *, now_ms: int
) -> bool:
    return bool(
        await execute(
            connection,
            """UPDATE alerts.alert SET state = 'lapsed', ended_at = %s
                WHERE property = %s AND edge = %s AND state = 'raised' AND number <> ALL (%s)""",
            [at(now_ms), property_id, edge, sorted(fact.numbers)],
        )
    )


async def _end(connection: Connection, alert_id: int, state: AlertState, *, now_ms: int) -> None:
    await execute(
        connection,
        "UPDATE alerts.alert SET state = %s, ended_at = %s WHERE id = %s",
        [state.value, at(now_ms), alert_id],
    )


async def standing(connection: Connection, *, tenant: str, property_id: str) -> list[Alert]:
    """Return the alerts that are up, the last to arrive first; at most ALERTS_MOST."""
    return await listed(
        connection, tenant=tenant, property_id=property_id, only_up=True, before_id=None, most=ALERTS_MOST
    )


async def listed(
    connection: Connection, *, tenant: str, property_id: str, only_up: bool, before_id: int | None, most: int
) -> list[Alert]:
    """Return up to `most` alerts, the last to arrive first, that arrived before the one of `before_id`."""
    rows = await fetch_all(
        connection,
        """SELECT id, kind, nullif(room, '') AS room, nullif(device, '') AS device, raised_at, detail, state, ended_at,
                  received_at
             FROM alerts.alert
            WHERE tenant = %(tenant)s AND property = %(property)s AND (state = 'raised' OR NOT %(only_up)s)
              AND (%(before)s::bigint IS NULL OR id < %(before)s)
            ORDER BY id DESC LIMIT %(most)s""",
        {
            "tenant": tenant,
            "property": property_id,
            "only_up": only_up,
            "before": before_id,
            "most": min(most, ALERTS_MOST),
        },
    )
    return [_alert(row) for row in rows]


def _alert(row: dict[str, object]) -> Alert:
    return Alert(**{**row, "state": AlertState(str(row["state"]))})  # type: ignore[arg-type]  # the columns are the fields
