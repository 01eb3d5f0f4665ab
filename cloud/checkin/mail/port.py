"""The port to whatever carries a letter: one message at a time, and what is known of it afterwards."""

from dataclasses import dataclass
from email.message import EmailMessage
from enum import StrEnum
from typing import Protocol


class Outcome(StrEnum):
    """What became of a message."""

    TAKEN = "taken"
    REFUSED = "refused"
    """For good: to this address, or this message. Nobody has it."""
    NOT_NOW = "not_now"
    """Nobody has it; the same may be tried later."""
    UNKNOWN = "unknown"
    """It was handed over, and no answer came: somebody may have it."""


@dataclass(frozen=True, slots=True)
class Told:
    """An outcome, with what it rests on: a reply code, or a word of ours. Never a server's text, which may say whose
    address it is about.
    """

    outcome: Outcome
    answer: str


class Mail(Protocol):
    """Who carries letters."""

    async def send(self, message: EmailMessage, *, to: str) -> Told:
        """Hand a message over, within a bounded time. The same message twice has the same Message-ID. Raises nothing
        that the network or the server does.
        """
        ...
