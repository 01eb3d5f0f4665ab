"""What is asked again, and what the last word is where an earlier attempt may have been done."""

import pytest

from edge.doors.vendors.insist import insist
from edge.doors.vendors.port import VendorRefusedError
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.errors import PlatformError, ReplyTimeoutError

LOST = ReplyTimeoutError("no answer")
TAKEN = VendorRefusedError("409 pin taken", "pin-taken")


async def asked(*answers: PlatformError | str) -> tuple[str, int]:
    """Return what `insist` returned and how often it asked."""
    left = list(answers)

    async def do() -> str:
        answer = left.pop(0)
        if isinstance(answer, str):
            return answer
        raise answer

    async def sleep(_: float) -> None:
        return

    made = await insist(do, what="a key", deadline_s=60, clock=ManualClock(), dice=SeededDice(1), sleep=sleep)
    return made, len(answers) - len(left)


@pytest.mark.guarantee("G13")
async def test_a_refusal_after_a_lost_answer_is_looked_at_again_for_the_key_in_the_way_may_be_ours() -> None:
    assert await asked(LOST, TAKEN, "the key") == ("the key", 3)


async def test_a_refusal_at_once_is_final() -> None:
    with pytest.raises(VendorRefusedError, match="pin taken"):
        await asked(TAKEN, "never asked")


async def test_a_refusal_that_stays_says_that_something_may_have_been_done() -> None:
    with pytest.raises(ReplyTimeoutError, match="an earlier attempt may have been done"):
        await asked(LOST, TAKEN, TAKEN, TAKEN, "never asked")
