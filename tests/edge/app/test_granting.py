"""The doors' refusals, over their socket and into check-in's own words."""

from collections.abc import Mapping
from typing import Any

import pytest

from edge.app.granting import GrantingDoors
from edge.checkin.errors import CheckInRefusal, CheckInRefusedError
from edge.doors.errors import ClockUnsoundError, LockEmptyError, StayEndedError
from edge.doors.wire import failure_of, raised
from protocols.device_model.identity import RoomId, StayId
from protocols.errors import PlatformError
from tests.edge.world import FakeDoors


class Refusing(FakeDoors):
    """Doors that refuse."""

    def __init__(self, error: PlatformError) -> None:
        super().__init__()
        self._error = raised(failure_of(error))

    async def issue(self, *_args: Any, **_more: Any) -> Mapping[str, Any]:
        raise self._error


@pytest.mark.requirement("P16", "A5")
@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (LockEmptyError("Room 101: 4 %"), CheckInRefusal.LOCK_EMPTY, "Room 101: 4 %."),
        (StayEndedError("ended"), CheckInRefusal.ENDED, "Stay s-anna has ended"),
        (ClockUnsoundError("no time"), CheckInRefusal.CLOCK_UNSOUND, "clock is not sound"),
    ],
)
async def test_what_the_doors_refuse_reaches_check_in_by_name(
    error: PlatformError, reason: CheckInRefusal, words: str
) -> None:
    doors = GrantingDoors(Refusing(error))
    with pytest.raises(CheckInRefusedError, match=words) as refused:
        await doors.issue(StayId("s-anna"), RoomId("101"), b"", not_before_ms=0, not_after_ms=1, join=False)
    assert refused.value.reason is reason
