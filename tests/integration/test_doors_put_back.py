"""The doors' store put back from a copy, with real processes: nobody is locked out, no number comes twice, it is told.

The copy is what a snapshot of the volume holds: file and journal of one moment, of a process that is at work. Then the
hotel goes on, the process is killed, the copy put in place as docs/operating/doors-backup.md says, and the process
started. All of it takes seconds: numbers are led by the clock in steps of 337.5 s, and the clock alone would hand them
out twice.
"""

import asyncio
import contextlib
import os
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edge.app.access_events import carry
from edge.doors.client import DoorsClient
from edge.doors.errors import StayEndedError
from kit.health import Health
from protocols.device_model.identity import RoomId, StayId, parse_stay_id
from protocols.errors import PlatformError
from protocols.link.lanes import Lane
from tests.edge.world import Building as House
from tests.integration.hotel_doors import CLOCK, Hotel, Phone, a_hotel, doors_toml
from tests.integration.steering import Steering

DEAD_RADIO = "tcp-client:127.0.0.1:9"
"""The discard port of loopback, where nobody listens."""


@dataclass
class Copies:
    """Copies of the doors' files, and how they are put back."""

    hotel: Hotel
    store: Path = field(init=False)
    numbers: Path = field(init=False)

    def __post_init__(self) -> None:
        self.store = self.hotel.folder / "doors.db"
        self.numbers = self.hotel.folder / "doors-numbers"

    def take(self) -> Path:
        """Copy all that lies in the folder at one moment, as a snapshot of the volume does."""
        folder = self.hotel.folder / "copy"
        folder.mkdir()
        os.kill(self.hotel.edge.pid, signal.SIGSTOP)
        try:
            for path in (self.store, self.store.with_name("doors.db-wal"), self.numbers):
                if path.exists():
                    shutil.copyfile(path, folder / path.name)
        finally:
            os.kill(self.hotel.edge.pid, signal.SIGCONT)
        return folder

    async def put_back(self, folder: Path, *, numbers_too: bool = False, radio: bool = True) -> None:
        """Kill the process, put the copy in the place of its files, start it."""
        await self.hotel.edge.kill()
        for path in self.hotel.folder.glob("doors.db*"):
            path.unlink()
        for path in folder.iterdir():
            if numbers_too or path.name != self.numbers.name:
                shutil.copyfile(path, self.hotel.folder / path.name)
        if numbers_too and not (folder / self.numbers.name).exists():
            self.numbers.unlink(missing_ok=True)
        deaf = None if radio else doors_toml(self.hotel.folder, DEAD_RADIO, name="deaf")
        await self.hotel.start_doors(deaf)

    async def radio_back(self) -> None:
        await self.hotel.edge.kill()
        await self.hotel.start_doors()


@dataclass
class Desk:
    """The rest of the edge: takes over events as the real one does, into a log."""

    house: House
    hotel: Hotel

    @classmethod
    @asynccontextmanager
    async def open(cls, hotel: Hotel) -> "AsyncIterator[Desk]":
        house = House(CLOCK, path=hotel.folder / "edge.db", rooms=3)
        doors = DoorsClient(hotel.folder / "doors.sock")

        async def carrying() -> None:
            while True:  # as its supervisor does it
                with contextlib.suppress(PlatformError):
                    await carry(doors, house.house, Health(CLOCK))
                await asyncio.sleep(0.05)

        task = asyncio.create_task(carrying())
        try:
            yield cls(house, hotel)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await doors.close()
            await house.store.close()

    def told(self) -> list[dict[str, Any]]:
        return [dict(each.body) for each in self.house.log.records(Lane.A, "access")]

    async def holds_every_record(self, *rooms: int) -> None:
        """Wait until each lock's log is read to its end, and taken over; no opening is missing then."""

        async def whole() -> bool:
            status = await self.hotel.doors.status()
            read = {each["door"]: each.get("lock_seq") for each in status["doors"]}
            logged = [read[f"door-{room}"] == (await self.hotel.lock(f"door-{room}"))["audit_seq"] for room in rooms]
            return all(logged) and status["events_waiting"] == 0

        await self.hotel.until(whole)
        for room in rooms:
            own = [each for each in self.told() if each["door"] == f"door-{room}" and each["event"] == "opened"]
            assert len({each["lock_seq"] for each in own}) == (await self.hotel.lock(f"door-{room}"))["motor_runs"]


HOUSES_OWN = ("store_put_back", "key_withdrawn")
"""Events at a door that are no records of its lock."""


async def tap(hotel: Hotel, phone: Phone, room: int) -> tuple[str, str | None]:
    await hotel.control.call("touch", door=f"door-{room}")
    said = await phone.ask(do="open", door=f"door-{room}")
    return said["ending"], said["reason"]


OPENED = ("opened", None)
SUPERSEDED = ("refused", "superseded")


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    os.chmod(tmp_path, 0o700)  # noqa: PTH101 - tmp_path may be a link
    return tmp_path


@pytest.mark.guarantee("G3", "G4", "G18")
@pytest.mark.requirement("P18")
async def test_who_came_and_went_after_the_copy_is_neither_locked_out_nor_let_in(folder: Path) -> None:
    async with a_hotel(folder, rooms=(101, 102, 103), phones_together=True) as hotel, Desk.open(hotel) as desk:
        copies = Copies(hotel)
        anna = await hotel.guest("stay-anna", "101")
        carl = await hotel.guest("stay-carl", "103")
        assert await tap(hotel, anna, 101) == OPENED
        await desk.holds_every_record(101)
        copy = copies.take()

        # what the copy knows nothing of: Bert comes; Anna leaves, Emil has her room; Carl's phone is lost
        bert = await hotel.guest("stay-bert", "102")
        assert await tap(hotel, bert, 102) == OPENED
        await hotel.doors.end_stay(parse_stay_id("stay-anna"))
        emil = await hotel.guest("stay-emil", "101")
        assert await tap(hotel, emil, 101) == OPENED
        await hotel.doors.withdraw_key(by="Ida Night", reason="the phone was lost", stay=StayId("stay-carl"))

        async def confirmed() -> bool:
            doors = (await hotel.doors.revocations())["doors"]
            return all(each["confirmed"] for each in doors)

        await hotel.until(confirmed)
        assert await tap(hotel, carl, 103) == ("refused", "revoked")
        await desk.holds_every_record(101, 102, 103)
        before = len(desk.told())

        await copies.put_back(copy, radio=False)
        # 1. nobody is locked out: the locks know what the store does not
        assert await tap(hotel, bert, 102) == OPENED
        assert await tap(hotel, emil, 101) == OPENED
        # 2. no number comes twice: who comes now replaces whoever had the room, whom the store never heard of
        gina = await hotel.guest("stay-gina", "102")
        fred = await hotel.guest("stay-fred", "101")
        assert await tap(hotel, gina, 102) == OPENED
        assert await tap(hotel, bert, 102) == SUPERSEDED
        assert await tap(hotel, fred, 101) == OPENED
        assert await tap(hotel, emil, 101) == SUPERSEDED
        # 3. what must be refused is refused
        assert await tap(hotel, anna, 101) == SUPERSEDED
        assert await tap(hotel, carl, 103) == ("refused", "revoked")

        await copies.radio_back()
        await desk.holds_every_record(101, 102, 103)
        # 4. it is told: in the door log, door by door, in the status, and that a lock's list is ahead of the store's
        told = Counter(each["door"] for each in desk.told() if each["event"] == "store_put_back")
        assert told == {f"door-{room}": 1 for room in (101, 102, 103)}
        doors = {each["door"]: each for each in (await hotel.doors.revocations())["doors"]}
        assert doors["door-103"]["ahead"] is True
        # 5. nothing that locks recorded is lost, changed or invented: what is told again is told as before
        facts: dict[tuple[str, int], set[tuple[str, str | None]]] = {}
        for each in desk.told():
            if each["event"] not in HOUSES_OWN:
                facts.setdefault((each["door"], each["lock_seq"]), set()).add((each["event"], each.get("grant")))
        assert [fact for fact in facts.values() if len(fact) != 1] == []
        assert len(desk.told()) > before
        # 6. the hotel goes on: the desk ends what the PMS says has ended, and those doors are told by radio
        await hotel.doors.end_stay(parse_stay_id("stay-fred"))

        async def ended() -> bool:
            return bool((await hotel.doors.status())["bumps_pending"] == 0)

        await hotel.until(ended)
        assert await tap(hotel, fred, 101) == SUPERSEDED
        with pytest.raises(StayEndedError):
            await hotel.guest("stay-fred", "101")


@pytest.mark.guarantee("G3", "G4", "G18")
@pytest.mark.requirement("P9", "P18")
async def test_a_list_after_the_copy_is_news_to_a_lock_that_has_the_forgotten_ones(folder: Path) -> None:
    """A dozen are withdrawn in a second: that numbers a dozen seconds ahead of the clock, more than a restart takes."""
    async with a_hotel(folder, rooms=(101,), phones_together=True) as hotel:
        copies = Copies(hotel)
        anna = await hotel.guest("stay-anna", "101")
        bert, point = await hotel.phone()
        joined = [point] + [(await hotel.phone())[1] for _ in range(12)]
        now_ms = CLOCK.wall_ms()
        bundles = [
            await hotel.doors.issue(
                StayId("stay-anna"),
                RoomId("101"),
                bytes.fromhex(each),
                not_before_ms=now_ms - 3_600_000,
                not_after_ms=now_ms + 24 * 3_600_000,
                join=True,
            )
            for each in joined
        ]
        assert (await bert.ask(do="load_bundle", bundle=bundles[0]))["ok"]
        assert await tap(hotel, bert, 101) == OPENED

        async def withdraw(phone: str) -> None:
            lost = "the phone was lost"
            await hotel.doors.withdraw_key(
                by="Ida Night", reason=lost, stay=StayId("stay-anna"), phone_public_key=bytes.fromhex(phone)
            )

        async def confirmed() -> bool:
            return all(each["confirmed"] for each in (await hotel.doors.revocations())["doors"])

        copy = copies.take()
        for each in joined[1:]:
            await withdraw(each)
        forgotten = (await hotel.doors.revocations())["seq"]
        await hotel.until(confirmed)
        await copies.put_back(copy, radio=False)
        await withdraw(joined[0])
        assert (await hotel.doors.revocations())["seq"] > forgotten
        assert not await confirmed()
        await copies.radio_back()
        await hotel.until(confirmed)
        assert await tap(hotel, bert, 101) == ("refused", "revoked")
        assert await tap(hotel, anna, 101) == OPENED


@pytest.mark.guarantee("G4", "G18")
@pytest.mark.requirement("P18")
async def test_the_same_copy_put_back_thrice_within_seconds(folder: Path) -> None:
    async with a_hotel(folder, rooms=(101,), phones_together=True) as hotel:
        copies = Copies(hotel)
        copy = copies.take()
        former = [await hotel.guest("stay-0", "101")]
        assert await tap(hotel, former[0], 101) == OPENED
        for number in (1, 2, 3):
            await copies.put_back(copy, radio=False)
            former.append(await hotel.guest(f"stay-{number}", "101"))
            assert await tap(hotel, former[-1], 101) == OPENED
            assert [await tap(hotel, each, 101) for each in former[:-1]] == [SUPERSEDED] * number


@pytest.mark.guarantee("G4", "G18")
@pytest.mark.requirement("P18")
async def test_a_whole_folder_put_back_begins_behind_its_own_beginning(folder: Path) -> None:
    """A machine's snapshot brings the noted numbers back too: then the clock leads, from the step after the start."""
    steering = Steering(folder)
    async with a_hotel(folder, rooms=(101,), environment=steering.environment, phones_together=True) as hotel:
        copies = Copies(hotel)
        steering.pass_time(400)  # the process began in an earlier 256th part of the day
        copy = copies.take()
        anna = await hotel.guest("stay-anna", "101")
        assert await tap(hotel, anna, 101) == OPENED
        await copies.put_back(copy, numbers_too=True, radio=False)
        bert = await hotel.guest("stay-bert", "101")
        assert await tap(hotel, bert, 101) == OPENED
        assert await tap(hotel, anna, 101) == SUPERSEDED
