"""Asking a vendor again, a bounded number of times and within a deadline: the answer comes in time, good or bad.

What is asked here looks before it acts (port.LockSystem), so that asking again after an answer was lost is safe.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from edge.doors.vendors.port import VendorBusyError, VendorRefusedError
from kit.clock import Clock
from kit.dice import Dice
from protocols.errors import PeerProtocolError, PlatformError, ReplyTimeoutError

T = TypeVar("T")
ATTEMPTS_MOST: Final = 4
PAUSE_FIRST_S: Final = 0.2
PAUSE_MOST_S: Final = 3.0


async def insist(
    do: Callable[[], Awaitable[T]],
    *,
    what: str,
    deadline_s: float,
    clock: Clock,
    dice: Dice,
    attempts_most: int = ATTEMPTS_MOST,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> T:
    """Return what `do` returns, asking again after an error that allows it.

    Args:
        do: Idempotent: it looks before it acts.
        what: For the words of an error.
        deadline_s: From now; then an answer is given, whatever the vendor does.
        clock: For the time left.
        dice: Jitters the pauses.
        attempts_most: At most so often.
        sleep: Replaced by tests.

    Raises:
        ReplyTimeoutError: the deadline passed, or attempts ran out, after at least one attempt may have taken effect.
        PlatformError: the last attempt's error otherwise.
    """
    until_ms = clock.now_ms() + round(deadline_s * 1_000)
    may_have = False
    pause_s = PAUSE_FIRST_S
    for attempt in range(1, attempts_most + 1):
        left_s = (until_ms - clock.now_ms()) / 1_000
        if left_s <= 0:
            break
        try:
            async with asyncio.timeout(left_s):
                return await do()
        except TimeoutError as error:
            raise ReplyTimeoutError(f"{what}: no answer within {deadline_s:g} s; it may have been done") from error
        except PlatformError as error:
            may_have = may_have or error.may_have_taken_effect or isinstance(error, PeerProtocolError)
            again = error.retryable or error.may_have_taken_effect or isinstance(error, PeerProtocolError)
            # what was lost may have taken effect between our look and our request: our own key is in the way then
            again = again or (may_have and isinstance(error, VendorRefusedError))
            wait_s = max(
                error.wait_ms / 1_000 if isinstance(error, VendorBusyError) else 0.0,
                dice.uniform(pause_s / 2, pause_s),
            )
            late = clock.now_ms() + wait_s * 1_000 >= until_ms
            if not again or attempt == attempts_most or late:
                if may_have and not error.may_have_taken_effect:
                    raise ReplyTimeoutError(f"{what}: {error}; an earlier attempt may have been done") from error
                raise
        await sleep(wait_s)
        pause_s = min(pause_s * 2, PAUSE_MOST_S)
    raise ReplyTimeoutError(f"{what}: no time left within {deadline_s:g} s")
