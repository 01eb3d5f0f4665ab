"""The desk for keys in foreign systems: durable first, one key a holder, honest about what is not done."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

import pytest

from edge.doors.errors import StayEndedError
from edge.doors.vendors import desk as desk_module
from edge.doors.vendors.desk import CURTAILED_AFTER_MS, EXPIRED_AFTER_MS, KeyDesk
from edge.doors.vendors.foreign import shown
from edge.doors.vendors.insist import insist
from edge.doors.vendors.ledger import KeyLedger, KeyState
from edge.doors.vendors.port import (
    PIN_TAKEN,
    VendorBusyError,
    VendorEvent,
    VendorFaultError,
    VendorRefusedError,
)
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.device_model.identity import RoomId
from protocols.errors import InvalidInputError, LinkLostError, PeerProtocolError, PlatformError, ReplyTimeoutError
from tests.edge.doors.vendors.fakes import MemorySystem, at_once, desk_of

A1, A2, T1 = RoomId("a1"), RoomId("a2"), RoomId("t1")
DAY_MS = 86_400_000


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[KeyLedger]:
    made = KeyLedger(tmp_path / "vendor-keys.db", epoch=bytes(16))
    yield made
    made.close()


@pytest.fixture
def annex() -> MemorySystem:
    return MemorySystem()


@pytest.fixture
def tower() -> MemorySystem:
    return MemorySystem(media=("card", "mobile"))


@pytest.fixture
def desk(ledger: KeyLedger, clock: ManualClock, annex: MemorySystem, tower: MemorySystem) -> KeyDesk:
    return desk_of(ledger, clock, ("annex", annex, (A1, A2)), ("tower", tower, (T1,)))


class Window(TypedDict):
    not_before_ms: int
    not_after_ms: int


def window(clock: ManualClock, days: int = 1) -> Window:
    return {"not_before_ms": clock.wall_ms(), "not_after_ms": clock.wall_ms() + days * DAY_MS}


@pytest.mark.requirement("ACC-03")
async def test_the_same_key_with_the_same_digits_however_often(
    desk: KeyDesk, annex: MemorySystem, clock: ManualClock
) -> None:
    [first] = await desk.issue("stay-1", [A1], **window(clock))
    [again] = await desk.issue("stay-1", [A1], **window(clock, 2))
    assert first.state is again.state is KeyState.MADE
    assert first.code == again.code
    assert first.code is not None
    assert len(annex.keys) == 1
    [other] = await desk.issue("stay-1", [A1], **window(clock), holder="joiner", join=True)
    assert other.code != first.code
    assert len(annex.keys) == 2


@pytest.mark.requirement("P11")
async def test_who_moves_out_of_a_system_loses_his_key_there(
    desk: KeyDesk, annex: MemorySystem, tower: MemorySystem, clock: ManualClock
) -> None:
    await desk.issue("stay-1", [A1], **window(clock))
    states = {each.system: each.state for each in await desk.issue("stay-1", [T1], **window(clock))}
    assert states == {"annex": KeyState.ENDED, "tower": KeyState.MADE}
    assert annex.keys == {}
    assert len(tower.keys) == 1
    states = {each.system: each.state for each in await desk.issue("stay-1", [A2], **window(clock))}
    assert states == {"annex": KeyState.MADE, "tower": KeyState.ENDED}


@pytest.mark.guarantee("G3", "G4")
@pytest.mark.requirement("P11")
async def test_a_key_that_outlasts_its_stay_ends_with_it_and_is_made_anew_for_a_longer_one(
    desk: KeyDesk, annex: MemorySystem, clock: ManualClock
) -> None:
    until_ms = clock.wall_ms() + DAY_MS
    await desk.issue("stay-1", [A1], **window(clock, 3), holder="anna")
    await desk.issue("stay-1", [A1], **window(clock), holder="tablet", join=True)
    await desk.issue("stay-2", [A2], **window(clock, 3))
    clock.advance(DAY_MS)
    assert [each.holder for each in desk.curtail("stay-1", until_ms)] == ["anna"]
    await desk.heal_once()
    assert {each.holder: each.state for each in desk.of_stay("stay-1")} == {
        "anna": KeyState.ENDED,
        "tablet": KeyState.MADE,  # its own system ends it with its time
    }
    assert [each.state for each in desk.of_stay("stay-2")] == [KeyState.MADE]
    assert desk.curtail("stay-1", until_ms) == []
    [again] = await desk.issue("stay-1", [A1], **window(clock, 2), holder="anna")
    assert (again.state, again.grant in annex.keys) == (KeyState.MADE, True)
    assert desk.curtail("stay-1", until_ms) == [], "who made it just now may know of an end that is about to be told"
    clock.advance(CURTAILED_AFTER_MS)
    assert [each.holder for each in desk.curtail("stay-1", until_ms)] == ["anna"]


@pytest.mark.guarantee("G17")
async def test_each_system_answers_for_itself(desk: KeyDesk, annex: MemorySystem, clock: ManualClock) -> None:
    annex.errors = [VendorFaultError("down")] * 20
    keys = {each.system: each for each in await desk.issue("stay-1", [A1, T1], **window(clock))}
    assert keys["tower"].state is KeyState.MADE
    assert keys["annex"].state is KeyState.WANTED
    assert keys["annex"].may_have
    assert "down" in (keys["annex"].problem or "")
    annex.errors = []
    clock.advance(10_000)
    await desk.heal_once()
    [healed] = [each for each in desk.of_stay("stay-1") if each.system == "annex"]
    assert (healed.state, healed.problem, healed.may_have) == (KeyState.MADE, None, False)


async def test_what_a_vendor_refuses_is_not_asked_again_by_itself(
    desk: KeyDesk, annex: MemorySystem, clock: ManualClock
) -> None:
    annex.errors = [VendorRefusedError("no such door")]
    [key] = await desk.issue("stay-1", [A1], **window(clock))
    assert (key.state, key.problem, key.may_have) == (KeyState.REFUSED, "no such door", False)
    clock.advance(DAY_MS // 2)
    await desk.heal_once()
    assert len(annex.asked) == 1
    [key] = await desk.issue("stay-1", [A1], **window(clock))
    assert key.state is KeyState.MADE, "a person asked again"


async def test_digits_that_are_taken_are_replaced_and_kept(
    desk: KeyDesk, annex: MemorySystem, clock: ManualClock
) -> None:
    annex.errors = [VendorRefusedError("taken", PIN_TAKEN), VendorRefusedError("taken", PIN_TAKEN)]
    [key] = await desk.issue("stay-1", [A1], **window(clock))
    assert key.state is KeyState.MADE
    [wanted] = annex.keys.values()
    assert wanted.pin == key.code == key.pin
    annex.errors = [VendorRefusedError("taken", PIN_TAKEN)] * 50
    [key] = await desk.issue("stay-2", [A1], **window(clock))
    assert key.state is KeyState.REFUSED
    assert len(annex.asked) < 10


async def test_a_card_is_not_written_while_nobody_asks(desk: KeyDesk, tower: MemorySystem, clock: ManualClock) -> None:
    tower.errors = [VendorBusyError("encoder at work", 1)] * 20
    [key] = await desk.issue("stay-1", [T1], **window(clock))
    assert key.state is KeyState.WANTED
    asked = len(tower.asked)
    tower.errors = []
    clock.advance(60_000)
    await desk.heal_once()
    assert len(tower.asked) == asked
    [key] = await desk.issue("stay-1", [T1], **window(clock))
    assert key.state is KeyState.MADE


async def test_an_answer_is_given_in_time_and_the_late_one_is_not_lost(
    ledger: KeyLedger, clock: ManualClock, annex: MemorySystem
) -> None:
    desk = desk_of(ledger, clock, ("annex", annex, (A1,)), deadline_s=0.05)
    annex.gate = asyncio.Event()
    [key] = await desk.issue("stay-1", [A1], **window(clock))
    assert key.state is KeyState.WANTED
    assert key.may_have
    assert key.problem
    annex.gate.set()
    clock.advance(10_000)
    await desk.heal_once()
    assert [each.state for each in desk.of_stay("stay-1")] == [KeyState.MADE]


@pytest.mark.guarantee("G4")
async def test_a_stay_that_ends_while_its_key_is_being_made_ends_all_the_same(
    desk: KeyDesk, annex: MemorySystem, clock: ManualClock
) -> None:
    annex.gate = asyncio.Event()
    making = asyncio.create_task(desk.issue("stay-1", [A1], **window(clock)))
    await asyncio.sleep(0)
    while not annex.asked:
        await asyncio.sleep(0)
    assert await desk.end_stay("stay-1") == [A1]
    annex.gate.set()
    await making
    assert [each.state for each in desk.of_stay("stay-1")] == [KeyState.ENDING], "the old answer changes nothing"
    await desk.heal_once()
    assert annex.keys == {}
    [key] = desk.of_stay("stay-1")
    assert (key.state, key.code, key.pin) == (KeyState.ENDED, None, None)
    with pytest.raises(StayEndedError):
        await desk.issue("stay-1", [A1], **window(clock))


@pytest.mark.guarantee("G4")
async def test_an_end_is_told_until_it_is_known(desk: KeyDesk, annex: MemorySystem, clock: ManualClock) -> None:
    await desk.issue("stay-1", [A1], **window(clock))
    annex.errors = [LinkLostError("away")] * 200
    await desk.end_stay("stay-1")
    for _ in range(5):
        await desk.heal_once()
        clock.advance(400_000)
    assert [each.state for each in desk.of_stay("stay-1")] == [KeyState.ENDING]
    assert len(annex.asked) < 40, "less and less often"
    annex.errors = []
    await desk.heal_once()
    assert [each.state for each in desk.of_stay("stay-1")] == [KeyState.ENDED]
    assert annex.keys == {}


async def test_a_key_whose_time_is_over_is_taken_out_of_the_vendors_system(
    desk: KeyDesk, annex: MemorySystem, clock: ManualClock
) -> None:
    await desk.issue("stay-1", [A1], **window(clock))
    clock.advance(DAY_MS + EXPIRED_AFTER_MS + 1)
    await desk.heal_once()
    assert annex.keys == {}


async def test_what_cannot_be_meant_is_refused_before_anybody_is_asked(
    desk: KeyDesk, annex: MemorySystem, clock: ManualClock
) -> None:
    now = clock.wall_ms()
    for rooms, begins, ends, medium in (
        ([A1], now - 2, now - 1, None),
        ([A1], now + 2, now + 1, None),
        ([RoomId("101")], now, now + DAY_MS, None),
        ([A1], now, now + DAY_MS, "card"),
    ):
        with pytest.raises(InvalidInputError):
            await desk.issue("s", rooms, not_before_ms=begins, not_after_ms=ends, medium=medium)  # type: ignore[arg-type]  # a stand-in, or hostile on purpose
    assert annex.asked == []
    assert desk.of_stay("s") == []


@pytest.mark.guarantee("G9")
async def test_the_pause_of_a_key_that_was_refused_is_not_kept_for_ever(
    desk: KeyDesk, annex: MemorySystem, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_module, "TURNS_KEPT_MOST", 3)
    for number in range(3):
        annex.errors = [VendorRefusedError("no such door")]
        await desk.issue(f"refused-{number}", [A1], **window(clock))
    annex.errors = [VendorBusyError("later", 60_000)]
    await desk.issue("waiting", [A1], **window(clock))
    assert len(desk._pauses) == 4
    await desk.heal_once()
    assert list(desk._pauses) == [desk.grant_of("waiting", "annex", "main")]


@pytest.mark.guarantee("G13")
async def test_opening_from_afar_is_asked_once_whatever_comes_of_it(desk: KeyDesk, annex: MemorySystem) -> None:
    annex.errors = [VendorFaultError("broke")]
    with pytest.raises(VendorFaultError) as fault:
        await desk.open_door(A1, actor="desk")
    assert fault.value.may_have_taken_effect
    assert annex.opened == 1


@pytest.mark.guarantee("G2")
async def test_events_told_again_count_once_and_go_on_after_a_restart(
    desk: KeyDesk, annex: MemorySystem, clock: ManualClock, ledger: KeyLedger
) -> None:
    [key] = await desk.issue("stay-1", [A1], **window(clock))
    annex.told = [VendorEvent(f"e{n}", "opened", "annex-a1", key.grant, n) for n in range(7)]
    assert await desk.poll("annex") == 7
    assert await desk.poll("annex") == 0
    events = desk.events(0, 100)
    assert [seq for seq, _, _ in events] == list(range(1, 8))
    assert {(body["stay"], body["room"]) for _, body, _ in events} == {("stay-1", A1)}
    desk.take_events(7)
    annex.told.append(VendorEvent("e7", "opened", "nobody-s", None, None))
    assert await desk.poll("annex") == 1
    [(_, body, _)] = desk.events(0, 100)
    assert (body["stay"], body["room"]) == (None, None)


def test_a_damaged_file_is_set_aside_and_the_doors_go_on(tmp_path: Path) -> None:
    path = tmp_path / "vendor-keys.db"
    path.write_bytes(b"not a database at all" * 500)
    ledger = KeyLedger(path, epoch=bytes(16))
    assert ledger.set_aside is not None
    assert ledger.set_aside.exists()
    assert ledger.open_keys() == []
    ledger.close()


async def test_no_digits_are_in_a_representation_or_in_the_status(desk: KeyDesk, clock: ManualClock) -> None:
    [key] = await desk.issue("stay-1", [A1], **window(clock))
    assert key.code is not None
    assert key.code not in repr(key)
    assert key.code not in repr(desk.status())
    assert shown(key).to_document()["code"] == key.code


@pytest.mark.parametrize(
    ("errors", "raised"),
    [
        ([LinkLostError("x")] * 9, LinkLostError),
        ([VendorRefusedError("x")], VendorRefusedError),
        ([VendorFaultError("x")] + [VendorRefusedError("y")] * 3, ReplyTimeoutError),
        ([PeerProtocolError("x"), LinkLostError("y"), LinkLostError("y"), LinkLostError("y")], ReplyTimeoutError),
        ([VendorBusyError("x", 60_000)], VendorBusyError),
    ],
)
async def test_the_last_word_never_forgets_that_it_may_have_happened(
    errors: list[PlatformError], raised: type[PlatformError], clock: ManualClock
) -> None:
    waiting = list(errors)

    async def do() -> None:
        raise waiting.pop(0)

    with pytest.raises(PlatformError) as last:
        await insist(do, what="key", deadline_s=8, clock=clock, dice=SeededDice(1), sleep=at_once)
    assert type(last.value) is raised
    assert len(errors) - len(waiting) <= 4
