"""The file of other makers' keys put back from a copy: what vendors tell from then on is not taken for what the house
has already, who has left since is ended again, and it is told."""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from edge.app.access_events import carry_vendors
from edge.doors.store import AccessEvent
from edge.doors.vendor_methods import VendorMethods
from edge.doors.vendors import ledger as ledger_module
from edge.doors.vendors.ledger import KeyLedger
from edge.doors.vendors.port import VendorEvent
from kit.health import Health
from protocols.device_model.identity import RoomId, StayId
from protocols.door.vendor_events import event_id
from protocols.errors import InvalidInputError, PlatformError, StoreFailedError
from protocols.link.lanes import Lane
from tests.edge.doors.building import Building
from tests.edge.doors.vendors.fakes import MemorySystem, desk_of
from tests.edge.world import Building as House

A1, A2, T1 = RoomId("a1"), RoomId("a2"), RoomId("t1")


class Site:
    """The doors process's side: an annex and a tower, and the file of their keys."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.building = folder, Building(folder)
        self.annex, self.tower = MemorySystem(), MemorySystem()
        self.path, self.lives = folder / "vendor-keys.db", 0
        self.happened = 0
        self.open()

    def open(self) -> None:
        clock = self.building.clock
        self.lives += 1
        self.ledger = KeyLedger(self.path, epoch=bytes([self.lives]) * 16, at_ms=clock.wall_ms())
        self.keys = desk_of(
            self.ledger, clock, ("annex", self.annex, (A1, A2)), ("tower", self.tower, (T1,)), deadline_s=1.0
        )
        closing, desk = self.building.closing, self.building.desk
        methods = VendorMethods(self.keys, book=self.building.book, desk=desk, sealed=closing.is_sealed)
        self.methods = methods.methods()

    def restart(self, copy: Path | None = None) -> None:
        """The process ends; with `copy`, that is put in the place of its file."""
        self.ledger.close()
        if copy is not None:
            for path in self.folder.glob("vendor-keys.db*"):
                path.unlink()
            shutil.copyfile(copy, self.path)
        self.building.clock.advance(1_000)
        self.open()

    def copy(self) -> Path:
        self.restart()
        self.ledger.close()  # all of it is in the file then
        made = Path(shutil.copyfile(self.path, self.folder / "copy.db"))
        self.open()
        return made

    async def opens(self, count: int = 1, system: MemorySystem | None = None) -> None:
        """Doors are opened, and the vendor tells it."""
        name = "annex" if system in (None, self.annex) else "tower"
        system = self.annex if system is None else system
        for _ in range(count):
            self.happened += 1
            number = self.happened
            system.told.append(
                VendorEvent(f"e{number}", "opened", f"{name}-{'a1' if name == 'annex' else 't1'}", None, number)
            )
        await self.keys.poll(name)

    def vendor_forgets(self) -> None:
        """Its own log is short: of what happened since the copy it tells the last alone."""
        self.ledger.keep_events("annex", str(len(self.annex.told)), [])


@dataclass
class Events:
    """The socket's methods as the rest of the edge asks them (edge/doors/client.py, VendorEvents)."""

    site: Site

    async def _asked(self, **args: int) -> dict[str, Any]:
        answer: Any = await self.site.methods["key_events"](args)
        return dict(answer)

    async def epoch(self) -> bytes:
        return bytes.fromhex((await self._asked(after=0, most=1))["epoch"])

    async def events(self, after: int) -> AsyncIterator[AccessEvent]:
        while True:
            answer = await self._asked(after=after, wait_ms=10)
            for each in answer["events"]:
                after = each["seq"]
                yield AccessEvent(bytes.fromhex(answer["epoch"]), after, each["body"], each["device_at_ms"])

    async def ack(self, epoch: bytes, up_to: int) -> None:
        await self.site.methods["ack_key_events"]({"epoch": epoch.hex(), "up_to": up_to})


@contextlib.asynccontextmanager
async def carrying(site: Site, house: House) -> AsyncIterator[None]:
    """The rest of the edge at work, as its supervisor does it."""

    async def run() -> None:
        while True:
            with contextlib.suppress(PlatformError):
                await carry_vendors(Events(site), house.house, Health(site.building.clock))
            await asyncio.sleep(0)

    task = asyncio.create_task(run())
    try:
        yield
        async with asyncio.timeout(20):
            while site.keys.events(0, 1, telling=False):
                await asyncio.sleep(0.001)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def told(house: House) -> list[Mapping[str, Any]]:
    return [each.body for each in house.log.records(Lane.A, "access")]


def openings(house: House) -> list[int]:
    return [each["at_ms"] for each in told(house) if each["event"] == "opened"]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path)
    yield made
    made.ledger.close()
    made.building.store.close()


@pytest.fixture
async def house(site: Site, tmp_path: Path) -> AsyncIterator[House]:
    made = House(site.building.clock, path=tmp_path / "edge.db", rooms=3)
    yield made
    await made.store.close()


@pytest.mark.guarantee("G1", "G18")
@pytest.mark.requirement("P18", "ACC-23")
@pytest.mark.parametrize("vendor_forgets", [False, True])
async def test_what_vendors_tell_after_it_was_put_back_is_taken(site: Site, house: House, vendor_forgets: bool) -> None:
    async with carrying(site, house):
        await site.opens(3)
    copy = site.copy()
    async with carrying(site, house):
        await site.opens(5)
    assert openings(house) == list(range(1, 9))
    site.restart(copy)
    if vendor_forgets:
        site.vendor_forgets()
    await site.opens(2, site.tower)
    async with carrying(site, house):
        await site.opens(2)
    async with carrying(site, house):
        pass
    assert set(range(1, 13)) <= set(openings(house)), "none is missing"
    assert set(openings(house)) == set(range(1, 13)), "and none is invented"
    again = [each["at_ms"] for each in told(house)[8:] if each["event"] == "opened" and each["at_ms"] <= 8]
    assert again == ([8] if vendor_forgets else [4, 5, 6, 7, 8]), "what the copy has forgotten is told again"
    ids = {(each["event_id"], each["at_ms"]) for each in told(house) if each["event"] == "opened"}
    assert len(ids) == len({name for name, _ in ids}) == 12, "and known again: the cloud shows it once"
    doors = [each["door"] for each in told(house) if each["event"] == "store_put_back"]
    assert doors == ["annex-a1", "annex-a2", "tower-t1"]
    assert site.keys.status()["put_back"] is True


@pytest.mark.guarantee("G18")
async def test_a_restart_is_no_copy_and_tells_nothing_twice(site: Site, house: House) -> None:
    for _ in range(4):
        async with carrying(site, house):
            await site.opens(2)
        site.restart()
    async with carrying(site, house):
        await site.opens(1)
    assert openings(house) == list(range(1, 10))
    assert [each["event"] for each in told(house) if each["event"] != "opened"] == []
    assert site.keys.status()["put_back"] is False


@pytest.mark.guarantee("G1", "G18")
@pytest.mark.requirement("P18")
async def test_with_a_clock_that_is_behind_too_the_file_begins_a_new_life(site: Site, house: House) -> None:
    async with carrying(site, house):
        await site.opens(1)
    copy = site.copy()
    async with carrying(site, house):
        await site.opens(3)
    life, newest = site.keys.epoch, house.log.records(Lane.A, "access")[-1].body["doors_seq"]
    site.building.clock.step_wall(-50 * 365 * 86_400_000)
    site.restart(copy)
    with pytest.raises(InvalidInputError, match="beyond"):
        await anext(Events(site).events(newest))
    site.vendor_forgets()
    async with carrying(site, house):
        await site.opens(2)
    assert openings(house) == [1, 2, 3, 4, 4, 5, 6]
    assert site.keys.epoch != life
    site.restart()
    assert site.keys.status()["put_back"] is False
    async with carrying(site, house):
        await site.opens(1)
    assert openings(house) == [1, 2, 3, 4, 4, 5, 6, 7]


@pytest.mark.requirement("P11", "P18")
async def test_names_of_events_are_kept_by_their_number_not_by_how_far_positions_went(
    site: Site, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each start goes on from the clock, a long way behind the last position: no name may be forgotten for that."""
    monkeypatch.setattr(ledger_module, "EVENTS_KEPT_MOST", 4)
    async with carrying(site, house):
        await site.opens(3)
    site.restart()
    async with carrying(site, house):
        await site.opens(1)
    known = list(site.annex.told)
    assert site.ledger.keep_events("annex", "4", [(each, {"event": "opened"}) for each in known]) == 0
    async with carrying(site, house):
        await site.opens(3)
    names = [each.event for each in site.annex.told]
    assert site.ledger.keep_events("annex", "9", [(each, {}) for each in site.annex.told[-4:]]) == 0
    assert len(names) == 7
    assert site.ledger.keep_events("annex", "9", [(site.annex.told[0], {})]) == 1, "older ones are forgotten"


@pytest.mark.guarantee("G4", "G18")
@pytest.mark.requirement("P18")
async def test_who_left_since_the_copy_is_ended_at_the_vendor_once_the_house_tells_it_again(site: Site) -> None:
    now_ms = site.building.clock.wall_ms()
    await site.keys.issue("stay-1", [A1], not_before_ms=now_ms, not_after_ms=now_ms + 86_400_000)
    copy = site.copy()
    await site.keys.end_stay("stay-1")
    await site.keys.heal_once()
    assert site.annex.keys == {}
    site.restart(copy)
    [key] = site.keys.of_stay(StayId("stay-1"))
    assert key.state.value == "made", "the copy believes that it is there"
    await site.keys.end_stay("stay-1")  # as edge/checkin/departures.py tells again what it noted as told
    await site.keys.heal_once()
    assert {each.state.value for each in site.keys.of_stay(StayId("stay-1"))} == {"ended"}


@pytest.mark.guarantee("G2")
@pytest.mark.requirement("P18")
async def test_an_id_follows_from_the_event_whatever_build_kept_it_and_is_no_others(site: Site) -> None:
    await site.opens(1)
    await site.opens(1, site.tower)
    site.annex.told.append(replace(site.annex.told[0], event="e1-again"))
    site.annex.told.append(VendorEvent("e9", "opened", "annex-a1", None, None))
    await site.keys.poll("annex")
    bodies = [body for _, body, _ in site.keys.events(0, 9)]
    assert [body["event_id"] for body in bodies] == [
        event_id(system, name, at_ms)
        for system, name, at_ms in (
            ("annex", "e1", 1),
            ("tower", "e2", 2),
            ("annex", "e1-again", 1),
            ("annex", "e9", None),
        )
    ]
    assert all("event_id" not in json.loads(body) for (body,) in site.ledger._rows("SELECT body FROM event"))


async def test_damage_where_positions_are_kept_is_set_aside_like_any(site: Site) -> None:
    [(page,)] = site.ledger._rows("SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_sequence'")
    [(size,)] = site.ledger._rows("PRAGMA page_size")
    await site.opens(1)
    site.ledger.close()
    with site.path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    site.open()
    assert site.ledger.set_aside is not None
    await site.opens(1)
    assert [body["at_ms"] for _, body, _ in site.keys.events(0, 9)] == [1, 2], "the vendor tells it again"


def test_a_file_that_cannot_be_written_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "vendor-keys.db").mkdir()
    with pytest.raises(StoreFailedError):
        KeyLedger(tmp_path / "vendor-keys.db", epoch=bytes(16), at_ms=1)
