"""Asking again while a program that was asked is down: what may be repeated, and for how long.

A rehearsal asks programs that it kills, or that somebody else kills; they come back in seconds.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from protocols.errors import PeerProtocolError, PlatformError

T = TypeVar("T")
PAUSES_S: Final = (0.1, 0.2, 0.4, 0.8, 1.6, *(7 * (3.2,)))
"""Between one attempt and the next: together what a program that is killed several times needs on a busy machine."""


class NotNowError(PeerProtocolError):
    """A problem that says of itself that asking again may help, such as 503 while the database restarts."""

    retryable = True


class PerhapsDoneError(NotNowError):
    """As NotNowError, and what was asked for may have happened all the same."""

    may_have_taken_effect = True


def passes(error: PlatformError) -> bool:
    """Return whether an error of a question says "not yet" and not "no"."""
    return error.retryable or error.may_have_taken_effect


async def ask_again(
    ask: Callable[[], Awaitable[T]], *, harmless_twice: bool, pauses_s: tuple[float, ...] = PAUSES_S
) -> T:
    """Ask until an answer comes, once more than there are pauses; raise the last error.

    Args:
        ask: One attempt.
        harmless_twice: What is asked may happen twice: a read, or a request with an idempotency key. Without it only
            what certainly did not happen is asked again.
        pauses_s: Seconds between the attempts.
    """
    for pause_s in pauses_s:
        try:
            return await ask()
        except PlatformError as error:
            if not passes(error) or (error.may_have_taken_effect and not harmless_twice):
                raise
        await asyncio.sleep(pause_s)
    return await ask()
