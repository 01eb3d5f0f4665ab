"""What the PMS is being told of stays, and what it could not be told, for whoever watches (docs/decisions/0155)."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from cloud.kit.database import Connection, fetch_all
from cloud.pms.port import PmsAction
from cloud.stays.listing import Conflict, Stay
from cloud.stays.reservation import PmsStatus

_OF_STAYS: Final = [each.value for each in PmsAction if each is not PmsAction.SET_ROOM_STATUS]
STAYS_MOST: Final = 1_000
"""Of those that are over and of which a PMS has not been told all: three days of a house of 300 rooms."""
_NOT_YET_IN: Final = frozenset({PmsStatus.BOOKED, PmsStatus.OPTION})


class WishState(StrEnum):
    """How far a wish is that nobody has settled."""

    PENDING = "pending"
    BY_HAND = "by_hand"
    """This PMS has no interface for it: a person does it there."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Wish:
    """One thing that a stay makes us want of its PMS, and that it has not."""

    stay: str
    action: PmsAction
    state: WishState
    since: datetime
    attempts: int
    """Writes that may have reached the PMS, or that it refused."""
    unread_since: datetime | None
    """Since when it could not even be tried; None: it can."""
    reason: str | None
    """The last thing that was in the way, in the words of that."""


async def unsettled_stays(
    connection: Connection, *, property_id: str, since: datetime, beside: Iterable[str] = ()
) -> list[str]:
    """Return the stays with a wish made after `since` that nobody has settled here, at most `STAYS_MOST`, newest first.

    Not those of `beside`, which the caller has already. Some of what failed has come true by another hand: `wishes_of`
    tells.
    """
    rows = await fetch_all(
        connection,
        """SELECT stay FROM pms.write_intent
            WHERE property = %s AND stay IS NOT NULL AND action = ANY(%s)
              AND state IN ('pending', 'by_hand', 'failed') AND created_at > %s AND stay <> ALL(%s)
            GROUP BY stay ORDER BY max(id) DESC LIMIT %s""",
        [property_id, _OF_STAYS, since, list(beside), STAYS_MOST],
    )
    return [row["stay"] for row in rows]


async def wishes_of(connection: Connection, *, property_id: str, stays: Iterable[Stay]) -> dict[str, list[Wish]]:
    """Return what the PMS has not of each of these stays, in the order in which it is told; of each kind the newest."""
    listed = {each.id: each for each in stays}
    rows = await fetch_all(
        connection,
        """SELECT * FROM (
               SELECT DISTINCT ON (stay, action) id, stay, action, state, created_at AS since, attempts, unread_since,
                      last_error AS reason
                 FROM pms.write_intent
                WHERE property = %s AND stay = ANY(%s) AND action = ANY(%s)
                  AND state IN ('pending', 'by_hand', 'failed')
                ORDER BY stay, action, id DESC) newest
            ORDER BY id""",
        [property_id, list(listed), _OF_STAYS],
    )
    found: dict[str, list[Wish]] = defaultdict(list)
    for row in rows:
        del row["id"]
        wish = Wish(**{**row, "action": PmsAction(row["action"]), "state": WishState(row["state"])})
        if wish.state is not WishState.FAILED or not is_settled(wish.action, listed[wish.stay]):
            found[wish.stay].append(wish)
    return dict(found)


def is_settled(action: PmsAction, stay: Stay) -> bool:
    """Tell whether a wish that failed has come true by another hand, or is nobody's any more. Pure."""
    match action:
        case PmsAction.CHECK_IN:
            return stay.pms_status not in _NOT_YET_IN
        case PmsAction.CHECK_OUT:
            return stay.pms_status not in _NOT_YET_IN | {PmsStatus.IN_HOUSE}
        case PmsAction.SET_DEPARTURE:
            return stay.conflict is Conflict.ENDED_IN_PMS or not stay.ends_otherwise
        case _:
            return stay.room is None or stay.room == stay.room_asked
