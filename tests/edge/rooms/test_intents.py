"""Wishes: carried out until confirmed, replaced by newer ones, never repeated after they were met or too late."""

import itertools
from collections.abc import Callable, Iterable

from hypothesis import given
from hypothesis import strategies as st

from edge.rooms.intents import RETRY_MOST_MS, Intents, Wish
from edge.rooms.modes import Intent
from protocols.device_model.capability import Capability
from protocols.device_model.identity import DeviceId, RoomId

ROOM = RoomId("101")
LAMP, LAMP_2 = DeviceId("lamp"), DeviceId("lamp-2")
T0 = 1_767_225_600_000


def serving(*devices: DeviceId) -> Callable[[Wish], Iterable[DeviceId]]:
    return lambda _: devices


def light(*, on: bool, deadline_ms: int) -> Intent:
    return Intent(Capability.ON_OFF, "on_off", on, deadline_ms)


def test_a_wish_is_written_once_a_device_and_dropped_when_all_confirmed() -> None:
    intents = Intents()
    assert intents.want(ROOM, light(on=True, deadline_ms=T0 + 60_000), now_ms=0, wall_ms=T0)
    writes, ended = intents.due(serving(LAMP, LAMP_2), now_ms=0)
    assert [each.device for each in writes] == [LAMP, LAMP_2]
    assert not ended
    assert intents.due(serving(LAMP, LAMP_2), now_ms=30_000)[0] == []  # in flight: not again
    for each in writes:
        each.open.in_flight.discard(each.device)
        each.open.met.add(each.device)
    writes, ended = intents.due(serving(LAMP, LAMP_2), now_ms=31_000)
    assert (writes, len(ended), len(intents)) == ([], 1, 0)


def test_a_failed_write_is_tried_again_with_growing_pauses_until_it_is_too_late() -> None:
    intents = Intents()
    intents.want(ROOM, light(on=False, deadline_ms=T0 + 3_600_000), now_ms=0, wall_ms=T0)
    tries: list[int] = []
    for now_ms in range(0, 4_000_000, 500):
        writes, _ = intents.due(serving(LAMP), now_ms=now_ms)
        for each in writes:
            tries.append(now_ms)
            each.open.in_flight.discard(each.device)
    pauses = [later - sooner for sooner, later in itertools.pairwise(tries)]
    assert pauses[:4] == [2_000, 4_000, 8_000, 16_000]
    assert max(pauses) == RETRY_MOST_MS
    assert tries[-1] < 3_600_000
    assert len(intents) == 0


def test_a_wish_that_comes_too_late_is_not_opened_and_takes_the_older_one_along() -> None:
    intents = Intents()
    intents.want(ROOM, light(on=False, deadline_ms=T0 + 60_000), now_ms=0, wall_ms=T0)
    assert not intents.want(ROOM, light(on=True, deadline_ms=T0 - 1), now_ms=0, wall_ms=T0)
    assert len(intents) == 0  # what was wished before is no longer wished either


def test_a_stepping_wall_clock_neither_ends_nor_prolongs_an_open_wish() -> None:
    intents = Intents()
    intents.want(ROOM, light(on=True, deadline_ms=T0 + 120_000), now_ms=1_000, wall_ms=T0)
    assert intents.due(serving(LAMP), now_ms=120_999)[0]
    assert intents.due(serving(LAMP), now_ms=121_000)[1]


def test_a_room_without_a_device_for_it_drops_the_wish() -> None:
    intents = Intents()
    intents.want(ROOM, light(on=True, deadline_ms=T0 + 120_000), now_ms=0, wall_ms=T0)
    writes, ended = intents.due(serving(), now_ms=0)
    assert (writes, len(ended), len(intents)) == ([], 1, 0)


@given(values=st.lists(st.booleans(), min_size=1, max_size=50))
def test_the_newest_wish_stands_alone(values: list[bool]) -> None:
    intents = Intents()
    for now_ms, on in enumerate(values):
        intents.want(ROOM, light(on=on, deadline_ms=T0 + 60_000), now_ms=now_ms, wall_ms=T0)
    [left] = intents
    assert left.intent.value is values[-1]
