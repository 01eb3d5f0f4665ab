"""How the uplink comes back."""

from datetime import timedelta

import msgspec


class LinkSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Pauses between connections are full jitter: uniform from 0 to `reconnect_first` * 2^n, at most
    `reconnect_most`.

    n counts connections on which the cloud answered nothing. What the cloud asks of a fleet widens both
    (protocols/link/SPEC.md 10.5); these are of a building that was never asked.
    """

    reconnect_first: timedelta = timedelta(seconds=1)
    reconnect_most: timedelta = timedelta(seconds=30)
    commands_at_once_max: int = 16
    commands_waiting_max: int = 64
