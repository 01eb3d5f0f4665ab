"""Locks as devices: changes and heartbeats become readings, what is not sensed is said so, and nothing is invented."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from edge.app.lock_readings import HEARTBEAT_MS, WHOLE_EVERY_MS, LockReadings, lock_devices
from edge.bridges.ports import Detail, DeviceEvent
from kit.clock import ManualClock
from protocols.device_model.capability import Capability
from protocols.device_model.identity import DeviceId, PropertyId, RoomId
from protocols.device_model.reading import Reading
from protocols.device_model.site_plan import SitePlan
from protocols.errors import LinkLostError, PeerProtocolError
from tests.edge.doors.building import Building


class Sink:
    def __init__(self) -> None:
        self.readings: list[Reading] = []

    def reading(self, reading: Reading) -> None:
        assert Reading.from_body(reading.to_body()) == reading  # fit for a record
        self.readings.append(reading)

    def together(self, readings: Sequence[Reading]) -> None:
        raise AssertionError("a lock tells one by one")

    def device_event(self, device: DeviceId, event: DeviceEvent, detail: Detail) -> None:
        raise AssertionError(f"{device} {event} {detail}")

    def taken(self) -> list[tuple[str, object, str, str | None]]:
        told: list[tuple[str, object, str, str | None]] = [
            (each.attribute, each.value, each.quality.value, each.reason) for each in self.readings
        ]
        self.readings.clear()
        return told


class NoDoors:
    async def locks(self, seen: int) -> tuple[int, list[Mapping[str, Any]]]:
        raise AssertionError(seen)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> SitePlan:
    building = Building(tmp_path_factory.mktemp("plan"))
    building.store.close()
    return building.plan


def said(**changes: object) -> dict[str, Any]:
    lock = {"door": "door-101", "room": "101", "state": "locked", "quality": "good", "reason": None, "battery": 80}
    return {**lock, "told_at_ms": 1, **changes}


@pytest.mark.guarantee("G17")
def test_a_state_is_told_on_change_and_as_a_heartbeat(plan: SitePlan) -> None:
    sink, clock = Sink(), ManualClock()
    locks = LockReadings(NoDoors(), sink, plan=plan, clock=clock)
    locks.take([said()])
    assert {each.device for each in sink.readings} == {"door-101"}
    assert {each.capability for each in sink.readings} == {Capability.DOOR_LOCK, Capability.POWER_SOURCE}
    assert sink.taken() == [("lock_state", "locked", "good", None), ("bat_percent_remaining", 80.0, "good", None)]
    locks.take([said()])
    assert sink.taken() == []
    locks.take([said(state="unlocked")])
    assert sink.taken() == [("lock_state", "unlocked", "good", None)]
    locks.take([said(state="unlocked", quality="uncertain", reason="lock has news not fetched yet")])
    assert sink.taken() == [("lock_state", "unlocked", "uncertain", "lock has news not fetched yet")]
    locks.take([said(state="unlocked", quality="stale", reason="lock not heard")])
    assert [quality for *_, quality, _ in sink.taken()] == ["stale", "stale"]
    clock.advance(HEARTBEAT_MS)
    locks.take([said(state="unlocked", quality="stale", reason="lock not heard")])
    assert len(sink.taken()) == 2


@pytest.mark.guarantee("G17", "G19")
def test_what_is_not_sensed_or_not_measured_is_not_invented(plan: SitePlan) -> None:
    sink = Sink()
    locks = LockReadings(NoDoors(), sink, plan=plan, clock=ManualClock())
    locks.take([said(state=None, battery=None), said(door="door-of-another-plan")])
    assert sink.taken() == [("lock_state", None, "bad", "bolt not sensed")]
    for wrong in ({"state": "ajar"}, {"quality": "fine"}):
        with pytest.raises(PeerProtocolError):
            locks.take([said(**wrong)])


@pytest.mark.guarantee("G17")
async def test_changes_are_asked_for_and_every_lock_every_few_seconds(plan: SitePlan) -> None:
    sink, clock = Sink(), ManualClock()
    asked: list[int] = []
    answers: list[tuple[int, int, list[Mapping[str, Any]]]] = [  # how long it took, the version, and what
        (0, 7, [said(), said(door="door-102")]),
        (WHOLE_EVERY_MS - 1, 8, [said(state="unlocked")]),
        (1, 9, [said(door="door-102", battery=79)]),
        (0, 9, [said(state="unlocked", quality="stale", reason="lock not heard"), said(door="door-102", battery=79)]),
        (WHOLE_EVERY_MS, 9, [said(state="unlocked"), said(door="door-102", battery=79)]),
        (0, 10, [said()]),
    ]

    class Doors:
        async def locks(self, seen: int) -> tuple[int, list[Mapping[str, Any]]]:
            if len(asked) == len(answers):
                raise LinkLostError("the doors went away")
            took_ms, version, locks = answers[len(asked)]
            asked.append(seen)
            clock.advance(took_ms)
            return version, locks

    with pytest.raises(LinkLostError):
        await LockReadings(Doors(), sink, plan=plan, clock=clock).run()
    assert asked == [-1, 7, 8, -1, 9, 9]  # where nothing changed, every lock was told of
    assert [value for attribute, value, *_ in sink.taken() if attribute == "lock_state"] == [
        *("locked", "locked", "unlocked", "unlocked", "unlocked", "locked")
    ]


def test_a_lock_serves_its_room_under_its_doors_name_or_its_own(plan: SitePlan) -> None:
    assert lock_devices(plan)[DeviceId("door-101")] == RoomId("101")
    assert lock_devices(None) == {}
    assert plan.property.id == PropertyId("aurora")
    assert not {DeviceId(str(door.lock)) for door in plan.doors} & set(lock_devices(plan))
