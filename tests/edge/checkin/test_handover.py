"""One guest overdue, the next at the desk: whatever is refused or killed between them, the room has one of the two."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import structlog

from edge.app.granting import GrantingDoors
from edge.checkin.departures import Departures
from edge.checkin.desk import SUPERSEDED_MOST, CheckInDesk
from edge.checkin.errors import CheckInRefusal, CheckInRefusedError
from edge.doors.closing_methods import withdrawn_beside_others
from edge.doors.curtailed_keys import CurtailedKeys
from edge.doors.errors import ClockUnsoundError, LockEmptyError, StayEndedError
from edge.stays.document import StayState, parse
from edge.stays.keeper import decision_from
from edge.stays.replica import Replica
from kit.clock import ClockQuality, ManualClock
from protocols.device_model.identity import RoomId, StayId
from protocols.door.bundle import Bundle
from protocols.door.hardware import BATTERY_EMPTY_PERCENT
from protocols.door.status import Status
from protocols.errors import InvalidInputError, LinkLostError, PlatformError, ReplyTimeoutError, StoreFailedError
from protocols.link.lanes import Lane
from tests.edge.doors.building import Building as Doors
from tests.edge.doors.building import MemoryPhone
from tests.edge.world import AURORA, HOUR_MS, PHONE, PHONE_2, T0, Building, a_document, a_stay

pytestmark = [pytest.mark.guarantee("G3", "G11"), pytest.mark.requirement("CHK-10")]
ANNA, BEN = StayId("s-anna"), StayId("s-ben")
EARLIER, NEXT = (StayState.IN_HOUSE, StayState.READY), (StayState.LEFT, StayState.IN_HOUSE)
"""The states of the two stays: before the handover, and after it. There is no third."""
REFUSED = ("checked_in", "s-anna"), ("checked_out", "s-anna"), ("checked_in", "s-ben")


async def overdue(folder: Path) -> Building:
    """Return a building in which Anna is in house an hour too long, and Ben's stay in her room has begun."""
    clock = ManualClock(wall_ms=T0)
    building = Building(clock, path=folder / "edge.db")
    await building.house.desired("stays", 1, a_document(a_stay()))
    await building.house.desk.check_in(ANNA, PHONE, by="desk")
    clock.advance(25 * HOUR_MS)
    await building.house.desired("stays", 2, a_document(a_stay(), bens()))
    return building


def bens(**changes: Any) -> dict[str, Any]:
    until_ms = T0 + 48 * HOUR_MS
    return a_stay("s-ben", "101", expected_from_ms=T0 + 24 * HOUR_MS, expected_until_ms=until_ms, **changes)


@pytest.fixture
async def building(tmp_path: Path) -> AsyncIterator[Building]:
    made = await overdue(tmp_path)
    yield made
    await made.store.close()


def states(building: Building) -> tuple[StayState, ...]:
    held = [building.house.keeper.replica.get(each) for each in (ANNA, BEN)]
    return tuple(each.state for each in held if each is not None)


def records(building: Building) -> list[tuple[str, str]]:
    return [(each.body["state"], each.body["stay"]) for each in building.log.records(Lane.A, "stay")]


def away(building: Building) -> None:
    building.doors.away = True


def silent(building: Building) -> None:
    building.doors.silent = True


def disk(building: Building) -> None:
    building.log.fail = True


def refusing(error: PlatformError) -> Callable[[Building], None]:
    def set_up(building: Building) -> None:
        building.doors.refusal = error

    return set_up


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        pytest.param(refusing(CheckInRefusedError(reason, "no")), CheckInRefusedError, id=reason.value)
        for reason in (CheckInRefusal.CLOCK_UNSOUND, CheckInRefusal.LOCK_EMPTY, CheckInRefusal.ENDED)
    ]
    + [
        pytest.param(refusing(ClockUnsoundError("raw")), ClockUnsoundError, id="clock, raw"),
        pytest.param(refusing(LockEmptyError("raw")), LockEmptyError, id="lock, raw"),
        pytest.param(refusing(StayEndedError("raw")), StayEndedError, id="ended, raw"),
        pytest.param(refusing(InvalidInputError("phone_public_key", "withdrawn")), InvalidInputError, id="withdrawn"),
        pytest.param(refusing(InvalidInputError("rooms", "no door")), InvalidInputError, id="rooms"),
        pytest.param(refusing(StoreFailedError("the doors' disk")), StoreFailedError, id="the doors' disk"),
        pytest.param(away, LinkLostError, id="doors away"),
        pytest.param(silent, ReplyTimeoutError, id="answer lost"),
        pytest.param(disk, StoreFailedError, id="the log's disk"),
    ],
)
async def test_what_is_refused_puts_nobody_out(
    building: Building, trouble: Callable[[Building], None], error: type[PlatformError]
) -> None:
    trouble(building)
    with pytest.raises(error):
        await building.house.desk.check_in(BEN, PHONE_2, by="kiosk")
    assert states(building) == EARLIER
    assert (building.doors.ended, records(building)) == ([], [("checked_in", "s-anna")])
    building.doors.away = building.doors.silent = building.log.fail = False
    building.doors.refusal = None
    answer = await building.house.desk.check_in(BEN, PHONE_2, by="kiosk")
    assert (answer["room"], answer["bundle"]["stay"]) == ("101", "s-ben")
    assert states(building) == NEXT
    assert building.doors.ended == [ANNA]
    assert records(building) == list(REFUSED)


async def test_a_kill_at_every_step_leaves_one_of_them_in_the_room_and_asking_again_the_next(tmp_path: Path) -> None:
    cuts, seen = 0, set()
    while True:
        folder = tmp_path / str(cuts)
        folder.mkdir()
        building = await overdue(folder)
        task = asyncio.create_task(building.house.desk.check_in(BEN, PHONE_2, by="kiosk"))
        for _ in range(cuts):
            await asyncio.sleep(0)
        whole = task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        seen.add(states(building))
        await building.restart()
        assert states(building) in {EARLIER, NEXT}, f"killed at step {cuts}"
        assert records(building) in [list(REFUSED[:1]), list(REFUSED)], f"killed at step {cuts}"
        answer = await building.house.desk.check_in(BEN, PHONE_2, by="kiosk")
        assert await building.house.departures.tell_all()
        assert (states(building), building.doors.ended) == (NEXT, [ANNA])
        assert (records(building), building.doors.issued) == (list(REFUSED), 2)
        assert answer["bundle"]["grant"] == "grant-2", "one key for him, however often he asked"
        await building.store.close()
        if whole:
            break
        cuts += 1
    assert cuts > 3
    assert seen == {EARLIER, NEXT}, "kills fell before the handover and after it"


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (a_document(a_stay(expected_until_ms=T0 + 72 * HOUR_MS), bens()), CheckInRefusal.ROOM_TAKEN),
        (a_document(a_stay(), bens(state="void")), CheckInRefusal.ENDED),
        (a_document(a_stay(), bens() | {"room": "102"}), CheckInRefusal.ROOM_TAKEN),
    ],
    ids=["the other's stay is longer now", "his own is cancelled", "he is given another room"],
)
async def test_what_a_document_says_while_the_key_is_made_counts(
    building: Building, document: dict[str, Any], reason: CheckInRefusal
) -> None:
    task = asyncio.create_task(building.house.desk.check_in(BEN, PHONE_2, by="kiosk"))
    while building.doors.issued < 2 and not task.done():
        await asyncio.sleep(0)
        if not building.house.keeper.replica.document_version > 2:
            await building.house.desired("stays", 3, document)
    with pytest.raises(CheckInRefusedError) as refused:
        await task
    assert refused.value.reason is reason
    held = building.house.keeper.replica.get(ANNA)
    assert held is not None
    assert (held.state, building.doors.ended) == (StayState.IN_HOUSE, [])


async def test_a_room_that_hundreds_are_said_to_be_in_is_the_front_desks(building: Building) -> None:
    crowd = [a_stay(f"s-{number}", "101", state="in_house") for number in range(SUPERSEDED_MOST)]
    await building.house.desired("stays", 3, a_document(a_stay(), bens(), *crowd))
    with pytest.raises(CheckInRefusedError) as refused:
        await building.house.desk.check_in(BEN, PHONE_2, by="kiosk")
    assert refused.value.reason is CheckInRefusal.ROOM_TAKEN
    await building.house.desired("stays", 4, a_document(a_stay(), bens(), *crowd[1:]))
    await building.house.desk.check_in(BEN, PHONE_2, by="kiosk")
    assert len(building.doors.ended) == SUPERSEDED_MOST


# --- with real grants and real locks -------------------------------------------------------------------------------


class RealDoors:
    """The doors' own desk behind check-in's port, as the doors' socket serves it."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self.bundles: dict[str, Bundle] = {}

    async def issue(
        self,
        stay: StayId,
        room: RoomId,
        phone_public_key: bytes,
        *,
        not_before_ms: int,
        not_after_ms: int,
        join: bool,
        beside: Sequence[StayId] = (),
    ) -> Mapping[str, Any]:
        self.bundles[stay] = self._doors.desk.issue(
            stay,
            [room],
            phone_public_key,
            not_before_ms=not_before_ms,
            not_after_ms=not_after_ms,
            join=join,
            beside=beside,
        )
        return self.bundles[stay].to_document()

    async def serves(self, room: RoomId) -> bool:
        return self._doors.desk.serves(room)

    async def end_stay(self, stay: StayId, *, emptied: Sequence[RoomId] = ()) -> None:
        spare = withdrawn_beside_others(stay, self._doors.desk, self._doors.closing)
        self._doors.desk.end_stay(stay, spare=spare, emptied=emptied)
        self._doors.closing.departed()

    async def curtail(self, stay: StayId, until_ms: int) -> int:
        doors = self._doors
        keys = CurtailedKeys(
            book=doors.book, store=doors.store, desk=doors.desk, closing=doors.closing, time=doors.time
        )
        return keys.end(stay, until_ms).due_in_ms


class Front:
    """A desk over them, and what it needs of the house."""

    def __init__(self, doors: Doors) -> None:
        self.doors, self.real, self.told = doors, RealDoors(doors), set[StayId]()
        start_ms = doors.clock.wall_ms()
        self.until_ms = start_ms + 24 * HOUR_MS
        stays = (
            a_stay(expected_from_ms=start_ms, expected_until_ms=self.until_ms),
            a_stay("s-ben", "101", expected_from_ms=self.until_ms, expected_until_ms=self.until_ms + 24 * HOUR_MS),
        )
        self.replica = Replica().offered(1, parse(a_document(*stays), ours=AURORA))
        ports = GrantingDoors(self.real)
        departures = Departures(replica=lambda: self.replica, doors=ports, store=self, log=structlog.get_logger("test"))
        self.desk = CheckInDesk(
            replica=lambda: self.replica,
            opens_before_ms=lambda: 0,
            rooms_with_doors=frozenset({RoomId("101")}),
            doors=ports,
            records=self,
            departures=departures,
            clock=doors.clock,
        )

    async def stays(self, bodies: Sequence[Mapping[str, Any]]) -> None:
        for body in bodies:
            self.replica = self.replica.decided(decision_from(body, self.replica.documents.get(body["stay"])))

    async def until(self, stay: StayId, until_ms: int, *, by: str) -> None:
        self.replica = self.replica.ends(
            self.replica.next_until(stay, until_ms, by=by, at_ms=self.doors.clock.wall_ms())
        )

    async def ended(self) -> frozenset[StayId]:
        return frozenset(self.told)

    async def mark_ended(self, stay: StayId) -> None:
        self.told.add(stay)

    async def forget_ended(self, stays: Sequence[StayId]) -> None:
        self.told.difference_update(stays)

    async def check_in(self, stay: StayId, phone: MemoryPhone) -> None:
        await self.desk.check_in(stay, phone.public.hex(), by="desk")
        phone.bundle = self.real.bundles[stay]


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    doors = Doors(tmp_path)
    with closing(doors.store):
        yield Front(doors)


def opens(phone: MemoryPhone) -> Status:
    return phone.open("door-101").result.status


@pytest.mark.parametrize("reason", [CheckInRefusal.CLOCK_UNSOUND, CheckInRefusal.LOCK_EMPTY])
async def test_the_doors_refuse_the_next_guest_and_the_earlier_one_keeps_his_key_until_they_do_not(
    front: Front, reason: CheckInRefusal
) -> None:
    doors, lock = front.doors, front.doors.locks["door-101"]
    anna, ben = doors.phone("anna"), doors.phone("ben")
    await front.check_in(ANNA, anna)
    doors.clock.advance(front.until_ms - doors.clock.wall_ms() + 60_000)  # within the grace of her key
    if reason is CheckInRefusal.CLOCK_UNSOUND:
        doors.clock.quality = ClockQuality.UNCERTAIN
    else:
        lock.battery_percent = BATTERY_EMPTY_PERCENT
        await doors.visit("door-101")
    with pytest.raises(CheckInRefusedError) as refused:
        await front.check_in(BEN, ben)
    assert refused.value.reason is reason
    held = front.replica.get(ANNA)
    assert held is not None
    assert (held.state, opens(anna)) == (StayState.IN_HOUSE, Status.OPENED)
    assert doors.store.pending_bumps() == []
    doors.clock.quality, lock.battery_percent = ClockQuality.SYNCHRONISED, 100
    await doors.visit("door-101")
    await front.check_in(BEN, ben)
    assert opens(ben) is Status.OPENED
    assert opens(anna) is Status.SUPERSEDED


@pytest.mark.parametrize("told_first", [False, True], ids=["opened first", "the lock is told first"])
async def test_ending_the_earlier_stay_after_the_next_ones_key_was_made_leaves_that_key_alone(
    front: Front, *, told_first: bool
) -> None:
    anna, ben = front.doors.phone("anna"), front.doors.phone("ben")
    await front.check_in(ANNA, anna)
    assert opens(anna) is Status.OPENED
    front.doors.clock.advance(front.until_ms - front.doors.clock.wall_ms() + 60_000)
    await front.check_in(BEN, ben)
    assert front.told == {ANNA}
    if told_first:
        await front.doors.visit("door-101")
        assert opens(anna) is Status.SUPERSEDED, "also before the next guest came to the door"
    assert opens(ben) is Status.OPENED
    await front.doors.visit("door-101")
    assert (opens(anna), opens(ben)) == (Status.SUPERSEDED, Status.OPENED)
    assert front.doors.store.pending_bumps() == []


async def test_a_stay_made_longer_at_the_building_opens_the_real_door_beyond_its_old_end(front: Front) -> None:
    anna, child = front.doors.phone("anna"), front.doors.phone("child")
    stay = a_stay(expected_from_ms=front.doors.clock.wall_ms(), expected_until_ms=front.until_ms)
    front.replica = front.replica.offered(2, parse(a_document(stay), ours=AURORA))  # nobody comes after her
    await front.check_in(ANNA, anna)
    await front.check_in(ANNA, child)
    assert (opens(anna), opens(child)) == (Status.OPENED, Status.OPENED)
    longer_ms = front.until_ms + 24 * HOUR_MS
    await front.desk.end_at(ANNA, longer_ms, by="desk", phone_public_key=anna.public.hex())
    anna.bundle = front.real.bundles[ANNA]
    front.doors.clock.advance(front.until_ms + HOUR_MS - front.doors.clock.wall_ms())
    assert (opens(anna), opens(child)) == (Status.OPENED, Status.EXPIRED), "the child has not asked yet"
    await front.check_in(ANNA, child)
    assert (opens(child), opens(anna)) == (Status.OPENED, Status.OPENED)
    assert front.doors.store.pending_bumps() == [], "no generation ended"
