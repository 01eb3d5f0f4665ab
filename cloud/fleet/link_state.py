"""In which state the line to an edge is, told from when it was last heard. Pure."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class LinkState(StrEnum):
    """What we may say of an edge: nothing better than how long it has been quiet."""

    ONLINE = "online"
    SILENT = "silent"
    """Quiet for longer than it should be: values may be old."""
    OFFLINE = "offline"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an edge may be quiet before it is called silent, then offline."""

    silent_after: timedelta
    offline_after: timedelta


def link_state(last_heard_ms: int | None, *, now_ms: int, patience: Patience) -> LinkState:
    """Judge a line by its silence; a time in the future counts as now."""
    if last_heard_ms is None:
        return LinkState.NEVER
    quiet = timedelta(milliseconds=max(0, now_ms - last_heard_ms))
    if quiet >= patience.offline_after:
        return LinkState.OFFLINE
    return LinkState.SILENT if quiet >= patience.silent_after else LinkState.ONLINE
