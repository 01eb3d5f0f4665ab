"""When a reading was so: whose clock is believed, and what happens to times that cannot be.

A device that keeps readings while its own link is away has the better word on when they were so; the building's clock
bounds what it may say, and our clock bounds the building. Nothing here moves a row that was stored.
"""

from typing import Final

from cloud.telemetry.store.port import TimeSource

AHEAD_MOST_MS: Final = 5 * 60_000
"""How far ahead of us a building's clock may be; a larger step is believed nowhere in the house (guarantee G10)."""
DEVICE_AHEAD_MOST_MS: Final = 2_000
"""How far ahead of the building a device's clock may be: a reading was so before it arrived."""
DEVICE_BEHIND_MOST_MS: Final = 7 * 86_400_000
"""How long a device may keep a reading to itself; an older time is a clock that lost its battery."""
PAST_MOST_MS: Final = 400 * 86_400_000
"""How long ago anything may have happened: a building cut off for a year still tells. Before that: no clock."""

_SOURCES: Final = {
    "synchronised": TimeSource.SYNCHRONISED,
    "drifting": TimeSource.DRIFTING,
    "uncertain": TimeSource.UNCERTAIN,
}


def when(*, device_at_ms: int | None, edge_at_ms: int, clock: str, received_ms: int) -> tuple[int, TimeSource]:
    """Return (at_ms, whose clock) of a reading.

    Args:
        device_at_ms: the device's own clock, if it has one.
        edge_at_ms: the building's clock when the record was appended.
        clock: the building's quality word on that clock.
        received_ms: our clock.
    """
    if not received_ms - PAST_MOST_MS <= edge_at_ms <= received_ms + AHEAD_MOST_MS:
        return received_ms, TimeSource.ARRIVAL
    source = _SOURCES.get(clock, TimeSource.UNCERTAIN)
    if (
        device_at_ms is not None
        and source is not TimeSource.UNCERTAIN
        and edge_at_ms - DEVICE_BEHIND_MOST_MS <= device_at_ms <= edge_at_ms + DEVICE_AHEAD_MOST_MS
    ):
        return min(device_at_ms, received_ms + AHEAD_MOST_MS), source
    return edge_at_ms, source
