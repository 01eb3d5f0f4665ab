"""How the uplink comes back."""

from datetime import timedelta
from typing import Annotated, Final

import msgspec

from kit.settings import check_span

GATHER_MOST: Final = timedelta(seconds=60)
PAUSE_LEAST: Final = timedelta(milliseconds=10)
PAUSE_MOST: Final = timedelta(hours=1)


class LinkSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Pauses between connections are full jitter: uniform from 0 to `reconnect_first` * 2^n, at most
    `reconnect_most`.

    n counts connections on which the cloud answered nothing. What the cloud asks of a fleet widens both
    (protocols/link/SPEC.md 10.5); these are of a building that was never asked.

    `gather_telemetry`: so long a reading waits for company before its batch goes, 60 s at most. Seconds of it save a
    cloud of thousands of buildings most of its work (docs/operating/scale.md); events never wait for it.

    Raises:
        ValueError: `gather_telemetry` or a pause is out of range.
    """

    reconnect_first: timedelta = timedelta(seconds=1)
    reconnect_most: timedelta = timedelta(seconds=30)
    commands_at_once_max: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 16
    commands_waiting_max: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 64
    gather_telemetry: timedelta = timedelta(milliseconds=200)

    def __post_init__(self) -> None:
        check_span("reconnect_most", self.reconnect_most, PAUSE_LEAST, PAUSE_MOST)
        check_span("reconnect_first", self.reconnect_first, PAUSE_LEAST, self.reconnect_most)
        check_span("gather_telemetry", self.gather_telemetry, timedelta(0), GATHER_MOST)
