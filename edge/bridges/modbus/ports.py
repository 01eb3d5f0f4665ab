"""What the Modbus supervisor needs of a line: links that answer questions, and how many at a time. Implementations:
link.py (TCP and TLS), rtu_link.py (serial lines); ways.py chooses.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from edge.bridges.complaints import Complaints
from protocols.modbus.frames import Reply, Request


class Link(Protocol):
    """One life of a connection to a bus."""

    async def listen(self) -> None:
        """Take answers until the connection ends; everything in flight is told."""
        ...

    async def ask(self, unit: int, request: Request, *, wait_ms: int) -> Reply:
        """Send a request to a unit and return its answer.

        Raises:
            LinkLostError: it never left.
            ReplyTimeoutError: it left, and no answer came in time.
            PeerProtocolError: what came is no answer to it; it may have been carried out.
        """
        ...

    def owed_ms(self, unit: int, request: Request) -> int:
        """Return for how long a late answer of the unit could still pass for the answer to this request; 0: ask."""
        ...

    async def close(self) -> None:
        """Hang up."""
        ...


Dial = Callable[[Counter[str], Complaints], Awaitable[Link]]
"""Opens a link. Raises OSError (and ssl.SSLError, which is one), UnicodeError for a host that is none."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a bus is reached: `in_flight_max` questions at a time, `probes_max` of them for units that were silent."""

    dial: Dial
    in_flight_max: int
    probes_max: int
    where: Mapping[str, str | int]
    """For people: host and port, or path."""
