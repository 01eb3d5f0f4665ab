"""How edges are kept from coming all at once: after their broker was lost, and when the cloud cannot keep up.

Source of truth: protocols/link/SPEC.md 6.2, 10.4 and 10.5. Every ack says over how long the fleet is to come back,
since an edge that loses its broker can be told nothing more; it is as long as the fleet's size needs.
"""

import zlib
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from cloud.kit.database import Connection, fetch_one
from cloud.kit.times import at
from cloud.telemetry.fan_in.arrivals import Arrived, Reply
from protocols.device_model.identity import EdgeId
from protocols.link.messages import Ack, AckStatus
from protocols.link.reconnect import SPREAD_S_MAX

RETURNS_A_SECOND: Final = 33
"""10,000 edges come back over 300 s; a TLS handshake and a hello are some milliseconds of a broker's core."""
COUNTED_EVERY_MS: Final = 10_000
REASSURED_AFTER_MS: Final = 2_000
"""Half of what an edge waits before it sends again."""
REASSURED_EVERY_MS: Final = 500
REASSURED_LEAST_MS: Final = 3_000
"""For so long at least: told anew before it ends, and before the link is taken for dead."""
ALIVE: Final = timedelta(minutes=10)
"""An edge heard within this is one of the fleet."""


def spread_of(edges: int, returns_a_second: int) -> int:
    """Return over how many seconds `edges` are to come back; 0: there is nothing to ask of so few. Pure."""
    return min(SPREAD_S_MAX, edges // returns_a_second)


def hold_ms(edge: EdgeId, waited_ms: int, most_ms: int) -> int:
    """Return how long an edge is to hold lanes B and C whose message waited `waited_ms`. Pure.

    As long as messages wait now, for that is how much there is to work off; a constant hold lets the queue run dry and
    then everybody back at once. So that they do not come back together, each has between a quarter and the whole
    of it, another share each time.
    """
    share = 256 + 3 * (zlib.crc32(f"{edge}/{waited_ms}".encode()) & 0xFF)
    return min(most_ms, waited_ms) * share // 1024


class Patience:
    """Who is told that he is heard while his message waits. Pure.

    An edge that hears nothing sends all of it again after 4 s and takes the link for dead after 8: so a cloud that is
    late is given more to do by everybody, each time anew, and may never come to an end.
    """

    def __init__(self, slow_most_ms: int) -> None:
        """`slow_most_ms`: the longest that an edge is asked to hold lanes B and C; 0: not at all."""
        self._slow_most_ms = slow_most_ms
        self._until_ms: dict[EdgeId, int] = {}

    def due(self, waiting: Iterable[Arrived], now_ms: int) -> list[Reply]:
        """Return what to say to those who have a message in `waiting`, each edge's oldest first.

        It is nothing of what is stored, and how long they are to hold what else they have: they are told again before
        that ends, unless they were answered.
        """
        self._until_ms = {edge: until for edge, until in self._until_ms.items() if until > now_ms}
        replies = []
        for each in waiting:
            edge, waited_ms = each.topic.edge, now_ms - each.at_ms
            if waited_ms < REASSURED_AFTER_MS or edge in self._until_ms:
                continue
            slow_ms = min(self._slow_most_ms, max(REASSURED_LEAST_MS, hold_ms(edge, waited_ms, self._slow_most_ms)))
            self._until_ms[edge] = now_ms + max(REASSURED_LEAST_MS, slow_ms) - 2 * REASSURED_EVERY_MS
            replies.append(Reply(edge, Ack(AckStatus.STORED, (), slow_ms=slow_ms)))
        return replies


class Fleet:
    """How many edges there are, asked of the database now and then: all workers' edges share one broker."""

    def __init__(self, returns_a_second: int = RETURNS_A_SECOND) -> None:
        if returns_a_second < 1:
            raise ValueError(f"{returns_a_second} returns a second would let nobody come back")
        self._rate, self._spread_s = returns_a_second, 0
        self._counted_ms: int | None = None

    async def spread_s(self, connection: Connection, now_ms: int, wall_ms: int) -> int:
        """Return the spread to ask for; `now_ms`: monotonic, `wall_ms`: unix, both of the caller's clock."""
        if self._counted_ms is None or now_ms - self._counted_ms >= COUNTED_EVERY_MS:
            row = await fetch_one(
                connection,
                "SELECT count(*) AS edges FROM telemetry.edge WHERE last_heard_at > %s",
                [at(wall_ms) - ALIVE],
            )
            self._spread_s = spread_of(0 if row is None else row["edges"], self._rate)
            self._counted_ms = now_ms
        return self._spread_s
