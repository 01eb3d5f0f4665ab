"""Two hundred thousand steps of the recodable-lock model (half of them while somebody waits) without an opening
too many, and a walk that sees one.
"""

from typing import Any
from unittest.mock import patch

import pytest

from protocols.door import lock_core
from protocols.grant.judge import judge
from tests.protocols.door.nights_walk import walk
from tests.seeds import seeds

STEPS_A_WALK = 12_500


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P5", "P8", "P11")
@pytest.mark.parametrize("seed", seeds(8, 16))
def test_no_step_of_many_opens_for_the_wrong_guest_or_locks_the_right_one_out(seed: int) -> None:
    walked = walk(seed, STEPS_A_WALK)
    assert walked.wrong == ()
    assert walked.steps >= STEPS_A_WALK
    assert walked.opened > walked.steps // 20, "it opens often enough to be worth walking"
    assert walked.refused > walked.steps // 20


@pytest.mark.guarantee("G4")
@pytest.mark.parametrize("forgets", ["generation", "privacy"])
def test_a_lock_that_forgets_its_rule_is_seen(forgets: str) -> None:
    def forgetful(grant: Any, issuer: Any, door: Any, now: Any, **more: Any) -> Any:
        return judge(grant, issuer, door._replace(**{forgets: 0}), now, **more)

    with patch.object(lock_core, "judge", forgetful):
        assert len(walk(1, 4_000).wrong) > 1
