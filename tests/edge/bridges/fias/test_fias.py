"""The PMS on the hotel's own network: who is in house, and keys, against an interface program that misbehaves."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge.app.fias import make_fias
from edge.bridges.fias.desk import FiasDesk
from edge.bridges.fias.emulator import TAME, InterfaceProgram, Knobs
from edge.bridges.fias.session import FiasSession
from edge.bridges.fias.settings import FiasSettings
from edge.stays.document import StayState
from kit.clock import ManualClock
from kit.dice import SeededDice
from kit.logs import logger
from protocols.device_model.identity import RoomId, StayId
from protocols.errors import LinkLostError
from protocols.fias.house import MOVE_WAIT_MS
from protocols.fias.link import ORDER_WAIT_MS
from protocols.fias.record import Record
from protocols.link.lanes import Lane
from tests.edge.world import PHONE, T0, Building, a_document, a_stay
from tests.seeds import seeds

PATIENCE_S = 15.0
NOW = datetime(2026, 1, 1, 9, 0, 0)  # noqa: DTZ001 - what the property's wall shows
ANNA = a_stay("s-anna", "101", reservation={"system": "mews", "external_id": "x1", "number": "88120"})
BEN = a_stay("s-ben", "102", guest_name="Ben Vidal", reservation=None)


@dataclass
class Keys:
    """The doors process, as key orders see it."""

    away: bool = False
    silent: asyncio.Event | None = None
    ended: list[str] = field(default_factory=list)

    async def status(self) -> Mapping[str, Any]:
        if self.silent is not None:
            await self.silent.wait()
        if self.away:
            raise LinkLostError("the doors process is away")
        return {"ready": True}

    async def end_stay(self, stay: StayId) -> None:
        await self.status()
        self.ended.append(stay)


@dataclass
class World:
    """A house, its session, and the PMS it talks to."""

    pms: InterfaceProgram
    building: Building
    clock: ManualClock
    session: FiasSession
    desk: FiasDesk
    keys: Keys

    def state(self, stay: str) -> str | None:
        found = self.building.house.keeper.replica.get(StayId(stay))
        return None if found is None else found.state.value

    def in_room(self, room: str) -> list[str]:
        """The stays in house in a room."""
        stays = self.building.house.keeper.in_room(RoomId(room))
        return [each.id for each in stays if each.state is StayState.IN_HOUSE]

    async def pass_time(self, ms: int) -> None:
        """Move the clock and wake the session by a word that means nothing."""
        before = self.session.counts["records"]
        self.clock.advance(ms)
        self.pms.say(Record("LA", {"DA": "260101", "TI": "090000"}))
        await until(lambda: self.session.counts["records"] > before)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0.002)


@asynccontextmanager
async def at_work(
    pms: InterfaceProgram,
    building: Building,
    clock: ManualClock,
    port: int,
    keys: Keys,
    *,
    guest_based: bool = True,
    data_dir: Path | None = None,
    more: Mapping[str, Any] | None = None,
) -> AsyncIterator[World]:
    settings = FiasSettings(
        host="127.0.0.1",
        port=port,
        zone="Europe/Vienna",
        guest_based=guest_based,
        reconnect_first=timedelta(milliseconds=100),
        reconnect_most=timedelta(milliseconds=100),
        **(more or {}),
    )
    session, desk = make_fias(
        settings,
        building.house,
        log=building.log,
        doors=keys,
        clock=clock,
        dice=SeededDice(1),
        logger=logger("test"),
        data_dir=data_dir,
    )
    session._sleep = lambda _: asyncio.sleep(0.01)
    running = asyncio.create_task(session.run())
    try:
        yield World(pms, building, clock, session, desk, keys)
    finally:
        running.cancel()
        await asyncio.wait([running])
        if not running.cancelled():
            running.result()


@asynccontextmanager
async def world(
    *stays: dict[str, Any],
    knobs: Knobs = TAME,
    path: Path | None = None,
    seed: int = 7,
    guest_based: bool = True,
    pms: InterfaceProgram | None = None,
) -> AsyncIterator[World]:
    clock = ManualClock(wall_ms=T0)
    building = Building(clock, path=path)
    await building.house.keeper.apply(1, a_document(*stays))
    pms = pms or InterfaceProgram(SeededDice(seed), NOW, knobs)
    port = await pms.start()
    try:
        async with at_work(pms, building, clock, port, Keys(), guest_based=guest_based) as made:
            await until(lambda: pms.alive and made.session.alive)
            yield made
    finally:
        await pms.stop()


@pytest.mark.parametrize("seed", seeds(3, 60))
@pytest.mark.requirement("PMS-11")
async def test_who_comes_and_goes_at_the_desk_comes_and_goes_at_the_edge(seed: int) -> None:
    async with world(ANNA, BEN, knobs=Knobs(), seed=seed) as w:
        w.pms.check_in("88120", "0101", "Muster", "260102")
        w.pms.check_in("7", "102", "Vidal", "260103")
        await until(lambda: (w.state("s-anna"), w.state("s-ben")) == ("in_house", "in_house"))
        w.pms.check_out("88120")
        await until(lambda: "0101" not in w.session.link.house.occupied())
        await w.pass_time(MOVE_WAIT_MS)
        await until(lambda: w.state("s-anna") == "left")
        assert w.state("s-ben") == "in_house"
        records = [each.body["stay"] for each in w.building.log.records(Lane.A, "stay")]
        assert records == ["s-anna", "s-ben", "s-anna"], "each once, however often it was told"


async def test_a_guest_nobody_told_us_of_has_a_stay_and_one_we_cannot_place_is_a_doubt() -> None:
    async with world(ANNA) as w:
        w.pms.check_in("9001", "102", "Walker", "260104")
        await until(lambda: w.in_room("102") == ["fias-9001-102-260104"])
        stay = w.building.house.keeper.replica.get(StayId("fias-9001-102-260104"))
        assert stay is not None
        assert stay.expected_until_ms == T0 + (3 * 24 + 10) * 3_600_000  # 11:00 in Vienna
        w.pms.check_in("9002", "999", "Nowhere", "260104")
        await until(lambda: ("999", "9002") in w.desk.doubts)
        w.pms.check_in("9003", "101", "Stranger", "260104")
        await until(lambda: len(w.in_room("101")) == 1)
        assert w.state("s-anna") == "ready", "a stranger in her room is not Anna"


async def test_an_interface_that_tells_rooms_alone_is_understood_by_room() -> None:
    async with world(ANNA, BEN, guest_based=False) as w:
        w.pms.check_in("88120", "101", "Muster", "260102")
        w.pms.check_in("88121", "101", "Muster", "260102")
        await until(lambda: w.state("s-anna") == "in_house")
        w.pms.order_key("101", None)
        await until(lambda: [each.get("AS") for each in w.pms.answers] == ["OK"])
        w.pms.check_out("88121")  # says that the room is shared: who knows no guests by number keeps it occupied
        w.pms.check_in("7", "102", "Vidal", "260103")
        await until(lambda: w.state("s-ben") == "in_house")
        assert w.state("s-anna") == "in_house"
        w.pms.check_out("88120")
        await until(lambda: w.state("s-anna") == "left")
        assert w.state("s-ben") == "in_house"


@pytest.mark.parametrize("stay", ["s-anna", "s-ben"])
@pytest.mark.parametrize("as_pair", [False, True])
@pytest.mark.guarantee("G3")
async def test_a_move_at_the_desk_is_the_same_stay_in_another_room(stay: str, as_pair: bool) -> None:
    known = ANNA if stay == "s-anna" else a_stay("s-ben", "101", guest_name="Ben Muster", reservation=None)
    async with world(known) as w:
        w.pms.check_in("88120", "101", "Muster", "260102")
        await until(lambda: w.in_room("101") == [stay])
        w.pms.move("88120", "102", as_pair=as_pair)
        await until(lambda: w.in_room("102") == [stay])
        assert (w.in_room("101"), w.desk.doubts) == ([], {})
        w.pms.check_in("90000", "101", "Vidal", "260103")  # and the old room is the next one's
        await until(lambda: w.in_room("101") == ["fias-90000-101-260103"])
        w.pms.check_out("88120")
        await until(lambda: w.session.link.house.occupied() == ("101",))
        await w.pass_time(MOVE_WAIT_MS + 1)
        await until(lambda: w.state(stay) == "left")
        w.pms.move("90000", "102", as_pair=as_pair)  # a stay of this edge alone moves as well
        await until(lambda: w.in_room("102") == ["fias-90000-101-260103"])
        w.pms.check_out("90000")
        await until(lambda: w.session.link.house.occupied() == ())
        await w.pass_time(MOVE_WAIT_MS + 1)
        await until(lambda: w.in_room("102") == [])


async def test_who_moves_away_from_another_guest_or_to_one_is_somebodys_to_look_at() -> None:
    shared = [
        a_stay("s-anna", "101", reservation={"system": "mews", "external_id": "x1", "number": "88120"}, share="g"),
        a_stay("s-cleo", "101", reservation={"system": "mews", "external_id": "x2", "number": "88121"}, share="g"),
    ]
    async with world(BEN) as w:
        await w.building.house.keeper.apply(2, a_document(*shared, v=2))
        for number in ("88120", "88121"):
            w.pms.check_in(number, "101", "Muster", "260102")
        await until(lambda: w.in_room("101") == ["s-anna", "s-cleo"])
        w.pms.move("88120", "102")  # her key and Cleo's are of one generation
        await until(lambda: ("101", "88120") in w.desk.doubts)
        assert w.in_room("101") == ["s-anna", "s-cleo"]
        w.pms.move("88121", "102")
        await until(lambda: ("101", "88121") in w.desk.doubts)
        assert w.in_room("101") == ["s-anna", "s-cleo"]


async def test_a_change_of_keys_that_comes_before_its_move_moves_the_guest() -> None:
    async with world(ANNA) as w:
        w.pms.check_in("88120", "101", "Muster", "260102")
        await until(lambda: w.in_room("101") == ["s-anna"])
        w.pms.order_key("102", "88120", record="KM", RO="101", GD="260102")
        await until(lambda: len(w.pms.answers) == 1)
        assert w.pms.answers[0].get("AS") == "OK"
        assert w.in_room("102") == ["s-anna"]
        w.pms.move("88120", "102")
        await w.pass_time(1)
        assert (w.in_room("102"), w.desk.doubts) == (["s-anna"], {})


async def test_a_move_that_nobody_heard_is_told_by_the_resynchronisation_but_not_over_a_move_made_here() -> None:
    async with world(ANNA, knobs=msgspec.structs.replace(TAME, forget=True)) as w:
        w.pms.check_in("88120", "101", "Muster", "260102")
        await until(lambda: w.in_room("101") == ["s-anna"])
        w.pms.drop()
        w.session._resync = True
        w.pms.move("88120", "102")
        await until(lambda: w.in_room("102") == ["s-anna"])
        await w.building.house.desk.check_in(StayId("s-anna"), PHONE, by="kiosk")
        await w.building.house.desk.move(StayId("s-anna"), RoomId("101"), PHONE, by="kiosk")
        assert w.in_room("101") == ["s-anna"]
        w.session._resync = True
        w.pms.drop()
        await until(lambda: w.pms.connections == 3 and w.pms.alive and w.session.alive and not w.session._resync)
        assert w.in_room("101") == ["s-anna"], "the PMS has not heard of it yet"
        assert "where kiosk put him" in w.desk.doubts["102", "88120"].reason


async def test_an_interface_that_begins_anew_in_a_resynchronisation_is_asked_for_all_of_it_again() -> None:
    async with world(ANNA, knobs=msgspec.structs.replace(TAME, deaf_to_resync=True)) as w:
        w.session._resync = True
        w.pms.drop()
        await until(lambda: w.pms.connections == 2 and w.session.link._resyncing)
        w.pms.guests.clear()
        w.pms.say(Record("DS", {"DA": "260101", "TI": "090000"}))
        w.pms.say(Record("GI", {"RN": "101", "G#": "88120", "GN": "Muster", "SF": ""}))
        w.pms.knobs = TAME
        w.pms.restart()  # and its list ended in the middle
        await until(lambda: w.session.alive and not w.session._resync)
        assert sum(each.id == "DR" for each in w.pms.heard) >= 2
        await until(lambda: w.in_room("101") == [])


@pytest.mark.guarantee("G3")
async def test_what_happened_while_the_edge_was_down_is_told_by_the_resynchronisation(tmp_path: Path) -> None:
    async with world(ANNA, BEN, path=tmp_path / "edge.db") as w:
        w.pms.check_in("88120", "101", "Muster", "260102")
        w.pms.check_in("7", "102", "Vidal", "260103")
        await until(lambda: (w.state("s-anna"), w.state("s-ben")) == ("in_house", "in_house"))
        port = w.session._settings.port
        pms, building, clock = w.pms, w.building, w.clock
        await restarted(pms, building, clock, port)


async def restarted(pms: InterfaceProgram, building: Building, clock: ManualClock, port: int) -> None:
    """A new life of the edge, after a check-out that nobody was there to hear."""
    pms.drop()
    pms.knobs = msgspec.structs.replace(TAME, forget=True)
    await building.restart()
    pms.check_out("88120")
    async with at_work(pms, building, clock, port, Keys()) as w:
        await until(lambda: w.state("s-anna") == "left")
        assert w.state("s-ben") == "in_house"


async def test_a_resynchronisation_that_never_ends_ends_nobody() -> None:
    async with world(ANNA, knobs=msgspec.structs.replace(TAME, deaf_to_resync=True)) as w:
        w.pms.check_in("88120", "101", "Muster", "260102")
        await until(lambda: w.state("s-anna") == "in_house")
        w.pms.say(Record("DS", {}))
        w.pms.drop()
        await until(lambda: w.pms.connections > 1 and w.session.alive)
        await w.pass_time(11 * 60_000)
        assert w.state("s-anna") == "in_house"


async def test_a_disk_that_refuses_makes_the_pms_tell_it_again() -> None:
    async with world(ANNA) as w:
        w.building.log.fail = True
        w.pms.check_in("88120", "101", "Muster", "260102")
        await until(lambda: w.pms.connections > 1)
        assert w.state("s-anna") == "ready"
        w.building.log.fail = False
        await until(lambda: w.state("s-anna") == "in_house")
        w.building.log.fail = True
        w.pms.check_out("88120")
        await until(lambda: not w.session.link.house.occupied())
        connections = w.pms.connections
        w.clock.advance(MOVE_WAIT_MS)
        w.pms.say(Record("LA", {"DA": "260101", "TI": "090000"}))
        await until(lambda: w.pms.connections > connections)
        assert w.state("s-anna") == "in_house"
        w.building.log.fail = False
        await until(lambda: w.state("s-anna") == "left")


@pytest.mark.parametrize("seed", seeds(2, 40))
async def test_a_key_order_is_answered_once_with_what_is_true(seed: int) -> None:
    async with world(ANNA, knobs=Knobs(), seed=seed) as w:
        w.pms.order_key("101", "88120", GD="260102")
        await until(lambda: len(w.pms.answers) == 1)
        assert (w.pms.answers[0].get("AS"), w.state("s-anna")) == ("OK", "in_house")
        w.pms.order_key("102", "1")
        w.pms.order_key("999", "1")
        w.pms.order_key("101", "88120", GD="260401")
        await until(lambda: len(w.pms.answers) == 4)
        assert sorted(each.need("AS") for each in w.pms.answers[1:]) == ["NG", "NG", "UR"]
        w.keys.away = True
        w.pms.order_key("101", "88120")
        w.pms.order_key("101", "88120", record="KD")
        await until(lambda: len(w.pms.answers) == 6)
        assert [each.get("AS") for each in w.pms.answers[4:]] == ["RY", "RY"]
        w.keys.away = False
        w.pms.order_key("101", "88120", record="KD")
        await until(lambda: len(w.pms.answers) == 7)
        assert (w.pms.answers[6].get("AS"), w.keys.ended) == ("OK", ["s-anna"])
        assert w.pms.answers[6].get("WS") == "FRONT"


async def test_a_key_order_is_answered_in_time_whoever_is_slow_and_never_twice() -> None:
    async with world(ANNA) as w:
        w.keys.silent = asyncio.Event()
        w.pms.order_key("101", "88120")
        await until(lambda: len(w.session.link._orders) == 1)
        await w.pass_time(ORDER_WAIT_MS)
        await until(lambda: [each.get("AS") for each in w.pms.answers] == ["NR"])
        w.keys.silent.set()
        w.keys.silent = None
        w.pms.order_key("101", "88120")
        await until(lambda: len(w.pms.answers) == 2)
        assert w.pms.answers[1].get("AS") == "OK"


async def test_an_order_whose_link_is_lost_is_named_and_not_answered_on_another() -> None:
    async with world(ANNA) as w:
        w.keys.silent = asyncio.Event()
        w.pms.order_key("101", "88120")
        await until(lambda: len(w.session.link._orders) == 1)
        w.pms.drop()
        await until(lambda: w.pms.connections > 1 and w.session.alive)
        w.keys.silent.set()
        assert w.session.counts["orders_lost"] == 1
        await w.pass_time(0)
        assert w.pms.answers == []


@pytest.mark.requirement("PMS-12")
async def test_rooms_are_told_when_the_pms_can_hear_and_only_the_newest_word() -> None:
    async with world(ANNA) as w:
        w.pms.restart()
        w.session.tell_room("101", 1)
        w.session.tell_room("101", 3)
        w.session.tell_room("102", 2)
        await until(lambda: w.pms.rooms == {"101": "3", "102": "2"})
        assert w.session.counts["rooms_told"] <= 3


@pytest.mark.guarantee("G19")
async def test_nonsense_costs_itself_and_the_link_lives() -> None:
    async with world(ANNA) as w:
        for record in (Record("GI", {}), Record("KR", {"RN": "1"}), Record("ZZ", {"A1": "?"}), Record("RE", {})):
            w.pms.say(record)
        w.pms._writer.write(b"\x02no record\x03\x03\x02\xff|\x03" + b"\x02" + b"x" * 3_000)  # type: ignore[union-attr]  # connected, or the test fails
        w.pms.check_in("88120", "101", "Muster", "260102")
        await until(lambda: w.state("s-anna") == "in_house")
        assert (w.pms.connections, w.session.counts["unreadable"]) == (1, 2)
        assert w.session.counts["refused_records"] == 3
