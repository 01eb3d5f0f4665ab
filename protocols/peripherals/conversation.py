"""What every conversation with a kiosk peripheral has alike: polls begun and ended, bytes out, what was said.

Source of truth: SPEC.md. Bytes in, facts out; nothing here waits, reads a clock or opens a line.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from protocols.errors import LocalProtocolError

INBOX_BYTES_MAX: Final = 1_024
"""Unread bytes of a device; one that says more without an end is not understood."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A poll's answer, whole or a part of it: fields by name."""

    fields: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class Presented:
    """The text of a machine readable zone. Personal data: it goes to whoever checks a guest in, and nowhere else."""

    text: str

    def __repr__(self) -> str:
        return "Presented(...)"


@dataclass(frozen=True, slots=True)
class Nonsense:
    """What came is nothing that this kind of device says; `problem` holds nothing of a document."""

    problem: str


@dataclass(frozen=True, slots=True)
class Ordered:
    """What the device says of an order: `done` True, False, or None: it has taken it, and must be looked at."""

    done: bool | None


Said = Answered | Presented | Nonsense | Ordered


@dataclass(frozen=True, slots=True)
class Order:
    """What a device is to do once: print `text`, or give a card (`text` is None).

    `mark` is four printable characters by which it tells that it has done so. The text may hold personal data.
    """

    mark: str
    text: str | None = None

    def __repr__(self) -> str:
        return "Order(...)"


class Conversation(ABC):
    """One device, from the opening of its line to its end. Make a new one for each connection."""

    answers_alike: ClassVar[bool] = True
    """Whether an answer of before could pass for one of now: it says how the device stands, and not of which poll."""

    def __init__(self) -> None:
        self._outbox = bytearray()
        self.finished = True
        """Whether the last poll is over."""

    def begin(self) -> None:
        """Begin a poll; one that is under way is given up."""
        self.finished = False
        self._outbox.clear()
        self._begin()

    def data_to_send(self) -> bytes:
        """Drain what is to be written to the device."""
        data = bytes(self._outbox)
        self._outbox.clear()
        return data

    def prepare(self) -> None:
        """Begin the poll that comes before an order."""
        self.begin()

    def refuses(self, order: Order, fields: Mapping[str, bool]) -> str | None:  # noqa: ARG002 - for those who take some
        """Say why an order is not to be sent to a device that stands so; None: nothing speaks against it."""
        return "it takes no orders"

    def begin_order(self, order: Order) -> None:  # noqa: ARG002 - for those who take some
        """Put an order into the outbox that nothing speaks against.

        Raises:
            LocalProtocolError: `refuses` was not asked.
        """
        raise LocalProtocolError(f"{type(self).__name__} takes no orders")

    def came_of(self, fields: Mapping[str, bool]) -> bool | None:  # noqa: ARG002 - for those who take some
        """Say whether the last order was carried out, as a device stands that has taken it; None: not to be told."""
        return None

    @abstractmethod
    def _begin(self) -> None:
        """Put the first question into the outbox."""

    @abstractmethod
    def receive_data(self, data: bytes) -> list[Said]:
        """Take bytes as they come, split anywhere; never raises for what a device said."""

    def pause(self) -> list[Said]:
        """Take note that nothing came for half a second: what is half said is over."""
        return []
