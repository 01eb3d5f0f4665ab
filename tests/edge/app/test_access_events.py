"""Carrying the doors' events: each once, in order, through lost doors, a refusing log and kills on either side."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.app.access_events import PART, as_record, carry
from kit.clock import ManualClock
from kit.health import Health
from protocols.errors import InvalidInputError, LinkLostError, PlatformError, StoreFailedError
from protocols.link.lanes import Lane
from tests.edge.world import T0, Building, a_document, a_stay, an_opening


@dataclass(frozen=True, slots=True)
class Event:
    epoch: bytes
    seq: int
    body: Mapping[str, Any]
    device_at_ms: int | None


@dataclass(slots=True)
class DoorsStore:
    """The doors' own store, which outlives its process, and a process that may be away."""

    life: bytes = b"doors-life-1"
    kept: list[Event] = field(default_factory=list)
    last: int = 0
    away: bool = False
    lose_acks: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def happened(self, **changes: Any) -> None:
        self.last += 1
        body = an_opening(lock_seq=self.last, **{"time_quality": 0, **changes})
        self.kept.append(Event(self.life, self.last, body, T0))
        self.news.set()

    def begun_anew(self) -> None:
        self.life, self.kept, self.last = b"doors-life-2", [], 0

    async def epoch(self) -> bytes:
        if self.away:
            raise LinkLostError("the doors process is away")
        return self.life

    async def events(self, after: int) -> AsyncIterator[Event]:
        life = self.life
        while True:
            self.news.clear()
            if self.life != life:
                raise LinkLostError("the doors process was started again")
            for event in [each for each in self.kept if each.seq > after]:
                if self.away:
                    raise LinkLostError("the doors process is away")
                after = event.seq
                yield event
            await self.news.wait()

    async def ack(self, epoch: bytes, up_to: int) -> None:
        if self.away or self.lose_acks:
            raise LinkLostError("the doors process is away")
        if epoch == self.life:
            self.kept = [each for each in self.kept if each.seq > up_to]


async def carrying(doors: DoorsStore, building: Building, health: Health) -> None:
    """As the supervisor does it: begin again after every failure."""
    while True:
        with contextlib.suppress(PlatformError):
            await carry(doors, building.house, health)
        await asyncio.sleep(0)


async def rested(turns: int = 200) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


def carried(building: Building) -> list[tuple[str, int]]:
    return [
        (bytes.fromhex(each.body["doors"]).decode(), each.body["doors_seq"])
        for each in building.log.records(Lane.A, "access")
    ]


STEPS = ["event", "kill", "doors away", "doors back", "acks lost", "acks back", "disk refuses", "disk back", "rest"]


@pytest.mark.guarantee("G11")
@given(steps=st.lists(st.sampled_from(STEPS), max_size=30))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_event_is_one_record_whatever_fails(steps: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    async def run() -> None:
        building = Building(ManualClock(wall_ms=T0), path=tmp_path_factory.mktemp("house") / "edge.db")
        doors, health, happened = DoorsStore(), Health(), 0
        task = asyncio.create_task(carrying(doors, building, health))
        for step in [*steps, "doors back", "acks back", "disk back", "rest"]:
            match step:
                case "event":
                    doors.happened()
                    happened += 1
                case "kill":
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                    await building.restart() if not building.log.fail else None
                    task = asyncio.create_task(carrying(doors, building, health))
                case "doors away" | "doors back":
                    doors.away = step == "doors away"
                    doors.news.set()
                case "acks lost" | "acks back":
                    doors.lose_acks = step == "acks lost"
                case "disk refuses" | "disk back":
                    building.log.fail = step == "disk refuses"
                case _:
                    await rested()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        task = asyncio.create_task(carrying(doors, building, health))
        await rested(2_000)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert carried(building) == [("doors-life-1", seq) for seq in range(1, happened + 1)]
        assert doors.kept == []
        await building.store.close()

    asyncio.run(run())


async def test_a_doors_store_begun_anew_is_followed_from_its_beginning(tmp_path: Path) -> None:
    building = Building(ManualClock(wall_ms=T0), path=tmp_path / "edge.db")
    doors, health = DoorsStore(), Health()
    for _ in range(3):
        doors.happened()
    task = asyncio.create_task(carrying(doors, building, health))
    await rested()
    doors.begun_anew()
    for _ in range(2):
        doors.happened()
    await rested()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert carried(building) == [("doors-life-1", n) for n in (1, 2, 3)] + [("doors-life-2", n) for n in (1, 2)]
    await building.store.close()


@pytest.mark.guarantee("G4", "G18")
async def test_doors_whose_store_was_put_back_are_told_again_who_has_left(tmp_path: Path) -> None:
    building = Building(ManualClock(wall_ms=T0), path=tmp_path / "edge.db")
    left = a_stay("s-left", state="left")
    await building.house.desired("stays", 1, a_document(left, a_stay("s-anna")))
    await building.house.departures.tell_all()
    assert building.doors.ended == ["s-left"]
    building.doors.ended.clear()  # the copy is of before that
    await building.house.departures.tell_all()
    assert building.doors.ended == [], "told once, remembered"
    doors, health = DoorsStore(), Health()
    for room in ("101", "102"):
        doors.happened(event="store_put_back", room=room)
    task = asyncio.create_task(carrying(doors, building, health))
    await rested()
    await building.house.departures.tell_all()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert building.doors.ended == ["s-left"]
    assert [each.body["event"] for each in building.log.records(Lane.A, "access")] == ["store_put_back"] * 2
    await building.store.close()


@pytest.mark.guarantee("G17")
async def test_health_says_whether_the_doors_can_be_reached(tmp_path: Path) -> None:
    building = Building(ManualClock(wall_ms=T0), path=tmp_path / "edge.db")
    doors, health = DoorsStore(away=True), Health()
    health.expect(PART)
    with pytest.raises(LinkLostError):
        await carry(doors, building.house, health)
    assert health.ready()[0] is False
    doors.away = False
    task = asyncio.create_task(carry(doors, building.house, health))
    await rested(5)
    assert health.ready()[0] is True
    building.log.fail = True
    doors.happened()
    with pytest.raises(StoreFailedError):
        await task
    assert health.ready()[0] is False
    await building.store.close()


@pytest.mark.parametrize(("byte", "word"), [(0, "fresh"), (1, "drifting"), (2, "uncertain")])
def test_the_locks_byte_for_its_clock_becomes_a_word(byte: int, word: str) -> None:
    assert as_record({"time_quality": byte})["time_quality"] == word


@pytest.mark.guarantee("G19")
async def test_an_event_that_cannot_be_read_is_told_as_such_and_holds_nobody_up(tmp_path: Path) -> None:
    building = Building(ManualClock(wall_ms=T0), path=tmp_path / "edge.db")
    doors = DoorsStore()
    doors.happened(time_quality=9, event_id="0a" * 16)
    doors.happened()
    task = asyncio.create_task(carry(doors, building.house, Health()))
    await rested()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    first, second = building.log.records(Lane.A, "access")
    assert (first.body["event"], first.body["lock_seq"], second.body["event"]) == ("unreadable", 1, "opened")
    assert "time_quality" in first.body["reason"]
    assert first.body["event_id"] == "0a" * 16, "told again, it is known again"
    assert doors.kept == []
    await building.store.close()


def test_a_byte_that_no_lock_says_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="time_quality"):
        as_record({"time_quality": 9})
