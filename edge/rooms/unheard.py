"""Devices of the house that have never been heard: since when nobody heard them, and for how long the edge listened.

A device that falls silent has values that grow old; one that never spoke has none, and a list of values does not know
it. The time that counts is the edge's listening, over restarts too: what it slept through proves nothing. Pure.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from protocols.device_model.identity import DeviceId

PATIENCE_MS: Final = 20 * 60_000
"""At least so long is listened before silence is something to say; the alert's own ten minutes come on top."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Since when nothing was heard (unix ms), and for how long of that somebody listened."""

    since_ms: int
    listened_ms: int = 0


class Unheard:
    """The devices nobody has heard.

    Args:
        kept: What was kept of the last life, by device.
        sleeps_ms: How long a device may be silent and yet be well.
    """

    def __init__(self, kept: Mapping[str, Waiting], *, sleeps_ms: Callable[[DeviceId], int]) -> None:
        self._waiting = {DeviceId(device): each for device, each in kept.items()}
        self._heard: set[DeviceId] = set()
        self._sleeps_ms = sleeps_ms

    def look(self, devices: Collection[DeviceId], heard: Collection[DeviceId], *, passed_ms: int, wall_ms: int) -> bool:
        """Learn who is in the house and who was heard in this life; True if somebody joined or left the unheard.

        Args:
            devices: Every device of the house.
            heard: Those of which something was heard.
            passed_ms: For how long the edge has listened since the last look.
            wall_ms: Unix ms.
        """
        before = self._waiting.keys()
        self._heard = (self._heard | set(heard)) & set(devices)
        self._waiting = {
            each: replace(known, listened_ms=known.listened_ms + passed_ms)
            if (known := self._waiting.get(each)) is not None
            else Waiting(wall_ms)
            for each in devices
            if each not in self._heard
        }
        return self._waiting.keys() != before

    def waits_for(self, device: DeviceId) -> bool:
        """Say whether nothing was heard of a device yet."""
        return device in self._waiting

    def overdue(self) -> dict[DeviceId, str]:
        """Return those that should have spoken by now, each with what is known of it."""
        return {
            device: f"never heard since {_minute(each.since_ms)}"
            for device, each in sorted(self._waiting.items())
            if each.listened_ms >= max(PATIENCE_MS, self._sleeps_ms(device))
        }

    def rows(self) -> dict[str, Waiting]:
        """Return what must survive a restart."""
        return {str(device): each for device, each in self._waiting.items()}


def _minute(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")
