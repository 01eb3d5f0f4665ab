"""Keypads reached by Bluetooth, and a book of their slots that is an older one: the lock is read, and it is told."""

import asyncio
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edge.doors.number_mark import NumberMark
from edge.doors.put_back import EVENT
from edge.doors.vendors.august_ble import HEARD_MOST_MS
from edge.doors.vendors.desk import KeyDesk
from edge.doors.vendors.foreign import ForeignSystem
from edge.doors.vendors.keypads import MISSING, READ_AGAIN_MOST_MS
from edge.doors.vendors.ledger import KeptKey, KeyLedger, KeyState
from firmware_bridges.august.ble_lock import YaleManners, quiet
from kit.dice import SeededDice
from kit.files import SystemDisk
from kit.metrics import Metrics
from protocols.device_model.identity import RoomId
from protocols.errors import StoreFailedError
from tests.edge.doors.vendors.test_august_ble import HOUR_MS, SLOTS, WAIT_S, A, B, Bench, bench
from tests.edge.doors.vendors.test_august_ble import no_cooldown as no_cooldown
from tests.seeds import seeds

pytestmark = [pytest.mark.requirement("P18"), pytest.mark.guarantee("G4")]
VILLA_A, VILLA_B = RoomId(A), RoomId(B)


async def _soon(_seconds: float) -> None:
    """The emulator has no patience to be tried."""


async def near(it: Bench, address: str) -> None:
    """Wait until a lock has been heard lately, by the bench's clock."""
    async with asyncio.timeout(WAIT_S):
        while (ago_ms := it.reach.heard_ms_ago(address)) is None or ago_ms > HEARD_MOST_MS // 2:
            await asyncio.sleep(0.005)


@dataclass
class Site:
    """A house whose two villas have keypads, and the file of its keys."""

    it: Bench
    folder: Path
    counted: bool = False
    """Whether changes of the file are noted beside it, as the doors process has it done."""
    lives: int = 0

    def __post_init__(self) -> None:
        self.it.ledger.close()
        self.open()

    def open(self) -> None:
        self.lives += 1
        clock = self.it.clock
        self.it.ledger = KeyLedger(
            self.folder / "vendor-keys.db",
            epoch=bytes([self.lives]) * 16,
            at_ms=clock.wall_ms() + self.lives,
            changes=NumberMark(self.folder / "doors-numbers", SystemDisk()).changes if self.counted else None,
        )
        doors = {VILLA_A: (A,), VILLA_B: (B,)}
        foreign = ForeignSystem("yale", self.it.system(), doors, deadline_s=8, poll_s=10, medium="pin")
        self.desk = KeyDesk(
            [foreign],
            property_id="house",
            ledger=self.it.ledger,
            clock=clock,
            dice=SeededDice(f"desk {self.lives}"),
            metrics=Metrics("doors"),
            sleep=_soon,
        )

    def copy(self) -> Path:
        self.it.ledger.close()
        made = Path(shutil.copyfile(self.folder / "vendor-keys.db", self.folder / "copy.db"))
        self.open()
        return made

    def restart(self, copy: Path | None = None) -> None:
        self.it.ledger.close()
        if copy is not None:
            self.lose()
            shutil.copyfile(copy, self.folder / "vendor-keys.db")
        self.open()

    def lose(self) -> None:
        for path in self.folder.glob("vendor-keys.db*"):
            path.unlink()

    async def comes(self, name: str, room: RoomId, *, in_ms: int = 0) -> str:
        """Give a guest a key, which is in the lock if its time has come; return its digits, "" where it has none."""
        [key] = await self.asks(name, room, in_ms=in_ms)
        return key.code or ""

    async def asks(self, name: str, room: RoomId, *, in_ms: int = 0) -> list[KeptKey]:
        begins_ms = self.it.clock.wall_ms() + in_ms
        return await self.desk.issue(name, [room], not_before_ms=begins_ms, not_after_ms=begins_ms + 24 * HOUR_MS)

    def told(self) -> list[Mapping[str, Any]]:
        return [body for _, body, _ in self.desk.events(0, 100)]


@pytest.mark.parametrize("dies", [False, True])
async def test_who_came_after_the_copy_opens_while_he_is_in_house_and_not_after(tmp_path: Path, dies: bool) -> None:
    async with bench(tmp_path) as it:
        site, lock = Site(it, tmp_path), it.locks[B]
        anna = await site.comes("anna", VILLA_A)
        copy = site.copy()
        bert = await site.comes("bert", VILLA_B)
        site.restart(copy)
        await site.desk.heal_once()
        assert lock.opens(bert), "nobody goes there while he is in house"
        assert site.told() == []
        await site.desk.end_stay("bert", emptied=[VILLA_B])
        if dies:
            site.restart()
        await site.desk.heal_once()
        assert not lock.opens(bert)
        assert it.locks[A].opens(anna)
        [event] = site.told()
        assert (event["event"], event["door"], event["room"], event["stay"]) == (
            *("keypad_corrected", "yale-villa-b", VILLA_B),
            None,
        )
        assert event["reason"] == "1 slots of ours held PINs of no key that this house knows: cleared"
        links = lock.links
        await site.desk.heal_once()
        assert lock.links == links, "and once"
        it.ledger.close()


async def test_a_slot_with_another_guests_digits_is_cleared_and_who_has_left_is_not_written_again(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path) as it:
        site, lock = Site(it, tmp_path), it.locks[A]
        anna = await site.comes("anna", VILLA_A)
        copy = site.copy()
        await site.desk.end_stay("anna")
        await site.desk.heal_once()
        bert = await site.comes("bert", VILLA_A)
        assert lock.pins == {SLOTS[0]: bert}, "in the slot that the copy has as Anna's"
        site.restart(copy)
        dora = await site.comes("dora", VILLA_A)
        assert sorted(lock.pins.values()) == [dora]
        [event] = site.told()
        assert event["reason"] == (
            "1 slots of ours held PINs of no key that this house knows: cleared;"
            " 1 keys were not there: each is written again when its holder asks for it"
        )
        [key] = site.desk.of_stay("anna")
        assert (key.state, key.problem) == (KeyState.MADE, MISSING)
        await site.desk.heal_once()
        assert not lock.opens(anna)
        [key] = await site.asks("anna", VILLA_A)  # she is in house after all
        assert (key.state, key.problem, key.code) == (KeyState.MADE, None, anna)
        assert sorted(lock.pins.values()) == sorted([anna, dora])
        await site.desk.end_stay("anna")
        await site.desk.heal_once()
        assert sorted(lock.pins.values()) == [dora]
        it.ledger.close()


@pytest.mark.parametrize("first", [VILLA_A, VILLA_B])
async def test_a_key_that_the_copy_has_as_not_yet_written_ends_in_the_lock_too(tmp_path: Path, first: RoomId) -> None:
    """`first` is Villa A: the copy's book knows all slots there, and has them as empty or Anna's."""
    async with bench(tmp_path) as it:
        site, lock = Site(it, tmp_path), it.locks[A]
        anna = await site.comes("anna", first)
        dora = await site.comes("dora", VILLA_B)
        assert await site.comes("bert", VILLA_A, in_ms=HOUR_MS) == ""
        copy = site.copy()
        it.clock.pass_time(HOUR_MS)
        await site.desk.heal_once()
        [digits] = set(lock.pins.values()) - {anna}
        site.restart(copy)
        links = it.locks[B].links
        await site.desk.end_stay("bert")
        await site.desk.heal_once()
        assert not lock.opens(digits)
        assert [each.state for each in site.desk.of_stay("bert")] == [KeyState.ENDED]
        assert it.locks[first].opens(anna)
        assert it.locks[B].opens(dora)
        assert it.locks[B].links == links, "no lock of his, and its slots are known"
        it.ledger.close()


@pytest.mark.parametrize("asked", ["room", "stay"])
async def test_a_lost_file_leaves_nobody_in_a_room_that_is_empty(tmp_path: Path, asked: str) -> None:
    async with bench(tmp_path) as it:
        site = Site(it, tmp_path)
        anna, bert = await site.comes("anna", VILLA_A), await site.comes("bert", VILLA_B)
        it.ledger.close()
        site.lose()
        site.open()
        assert site.desk.status()["systems"][0]["keypads_unread"] == 2
        if asked == "room":
            site.desk.end_room(VILLA_B)
        else:
            await site.desk.end_stay("bert", emptied=[VILLA_B])
        await site.desk.heal_once()
        assert (it.locks[A].opens(anna), it.locks[B].opens(bert)) == (True, False)
        assert site.desk.status()["systems"][0]["keypads_unread"] == 1
        it.ledger.close()


@pytest.mark.guarantee("G18")
async def test_a_restart_tells_nothing_and_takes_nobodys_digits(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        site = Site(it, tmp_path)
        anna, bert = await site.comes("anna", VILLA_A), await site.comes("bert", VILLA_B)
        for _ in range(3):
            site.restart()
            assert await site.comes("anna", VILLA_A) == anna
            await site.desk.end_stay("nobody", emptied=[VILLA_A, VILLA_B])
            await site.desk.heal_once()
            await site.desk.heal_once()
            assert site.desk.status()["systems"][0]["keypads_unread"] == 0
        assert it.locks[A].opens(anna)
        assert it.locks[B].opens(bert)
        assert site.told() == []
        it.ledger.close()


async def test_a_lock_that_cannot_be_spoken_to_is_tried_again_and_less_and_less_often(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        site, lock = Site(it, tmp_path), it.locks[B]
        copy = site.copy()
        bert = await site.comes("bert", VILLA_B)
        site.restart(copy)
        lock.manners.drop_before = 1.0
        await site.desk.end_stay("bert", emptied=[VILLA_B])
        await site.desk.heal_once()
        lock.manners = quiet()
        await site.desk.heal_once()
        assert lock.opens(bert), "its pause is not over"
        it.clock.pass_time(3_000)
        await site.desk.heal_once()
        assert not lock.opens(bert)
        it.ledger.close()


async def test_nothing_is_cleared_that_could_not_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench(tmp_path) as it:
        site, lock = Site(it, tmp_path), it.locks[B]
        copy = site.copy()
        bert = await site.comes("bert", VILLA_B)
        site.restart(copy)
        await site.desk.end_stay("bert", emptied=[VILLA_B])

        def refuses(*_: object) -> None:
            raise StoreFailedError("disk full")

        with monkeypatch.context() as full:
            full.setattr(it.ledger, "keep_strays", refuses)
            with pytest.raises(StoreFailedError):
                await site.desk.heal_once()
        assert lock.opens(bert)
        await site.desk.heal_once()
        assert not lock.opens(bert)
        assert len(site.told()) == 1
        it.ledger.close()


@pytest.mark.guarantee("G3")
@pytest.mark.parametrize("seed", seeds(1, 10))
async def test_a_lock_that_answers_badly_loses_no_guests_digits(tmp_path: Path, seed: int) -> None:
    async with bench(tmp_path, seed=seed) as it:
        site, lock = Site(it, tmp_path), it.locks[A]
        anna, bert = await site.comes("anna", VILLA_A), await site.comes("bert", VILLA_A)
        stranger = "135792"
        lock.pins[SLOTS[-1]] = stranger
        site.restart()
        lock.manners = YaleManners(slow_ms=0, misread=0.3)
        await site.desk.end_stay("nobody", emptied=[VILLA_A])
        for _ in range(200):
            await site.desk.heal_once()
            it.clock.pass_time(READ_AGAIN_MOST_MS)
            await near(it, lock.address)
            assert lock.opens(anna)
            assert lock.opens(bert)
            if site.desk.status()["systems"][0]["keypads_unread"] == 1:
                break
        else:
            pytest.fail("never read to the end")
        assert not lock.opens(stranger)
        assert len(site.told()) == 1
        it.ledger.close()


def put_backs(site: Site) -> list[str]:
    return [each["door"] for each in site.told() if each["event"] == EVENT]


def answered(site: Site) -> None:
    """The house has taken what was told, as edge/app/access_events.py does."""
    if events := site.desk.events(0, 100):
        site.desk.take_events(events[-1][0])


async def test_a_house_of_keypads_alone_is_told_at_the_start_that_its_file_was_put_back(tmp_path: Path) -> None:
    """No event tells it: these locks tell none. What was noted beside the file does."""
    async with bench(tmp_path) as it:
        site = Site(it, tmp_path, counted=True)
        await site.comes("anna", VILLA_A)
        copy = site.copy()
        await site.comes("bert", VILLA_B)
        links = it.locks[A].links, it.locks[B].links
        site.restart(copy)
        assert site.desk.status()["put_back"] is False
        await site.desk.heal_once()
        assert site.desk.status()["put_back"] is True
        assert put_backs(site) == ["yale-villa-a", "yale-villa-b"]
        assert (it.locks[A].links, it.locks[B].links) == links, "no lock was visited for it"
        assert site.desk.news.is_set()
        await site.desk.heal_once()
        for _ in range(2):
            site.restart()
            await site.desk.heal_once()
            assert site.desk.status()["put_back"] is False
        assert len(put_backs(site)) == 2, "and told once"
        answered(site)
        site.restart(copy)
        await site.desk.heal_once()
        assert len(put_backs(site)) == 2, "the same copy once more is news"
        it.ledger.close()


@pytest.mark.parametrize("noted", [False, True])
async def test_a_lost_file_is_told_as_an_older_one_where_changes_are_noted(tmp_path: Path, noted: bool) -> None:
    async with bench(tmp_path) as it:
        site = Site(it, tmp_path, counted=True)
        await site.comes("anna", VILLA_A)
        it.ledger.close()
        site.lose()
        if not noted:
            (tmp_path / "doors-numbers").unlink()
        site.open()
        await site.desk.heal_once()
        assert len(put_backs(site)) == 2 * noted
        it.ledger.close()


@pytest.mark.guarantee("G18")
async def test_no_restart_and_no_kill_is_taken_for_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench(tmp_path) as it:
        site = Site(it, tmp_path, counted=True)
        for name in ("anna", "bert"):
            await site.comes(name, VILLA_A)
            site.restart()
            await site.desk.heal_once()
        with monkeypatch.context() as killed:  # between the commit and the note
            killed.setattr("edge.doors.number_mark.Mark.handed_out", lambda *_: None)
            await site.comes("carl", VILLA_A)
        for _ in range(2):
            site.restart()
            await site.desk.heal_once()
        assert site.told() == []
        await site.desk.end_stay("anna")
        site.restart()
        await site.desk.heal_once()
        assert put_backs(site) == []
        it.ledger.close()


async def test_it_is_told_though_the_file_could_not_be_written_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(tmp_path) as it:
        site = Site(it, tmp_path, counted=True)
        copy = site.copy()
        await site.comes("anna", VILLA_A)
        site.restart(copy)

        def refuses(*_: object) -> None:
            raise StoreFailedError("disk full")

        with monkeypatch.context() as full:
            full.setattr(it.ledger, "keep_own", refuses)
            with pytest.raises(StoreFailedError):
                await site.desk.heal_once()
        site.restart()
        await site.desk.heal_once()
        assert len(put_backs(site)) == 2
        it.ledger.close()


async def test_the_house_that_answers_a_copy_later_is_not_told_twice(tmp_path: Path) -> None:
    """The start told it; the process ends before the house says what it holds of the file's events."""
    async with bench(tmp_path) as it:
        site = Site(it, tmp_path, counted=True)
        await site.comes("anna", VILLA_A)
        it.ledger.keep_own([("yale", "first", {"event": "first", "at_ms": 1})])
        answered(site)
        copy = site.copy()
        it.ledger.keep_own([("yale", "second", {"event": "second", "at_ms": 2})])
        [(position, _, _)] = site.desk.events(0, 9)
        answered(site)
        await site.comes("bert", VILLA_A)
        for starts in ("told at the start", "answered before it is told"):
            it.clock.pass_time(60_000)
            site.restart(copy)
            if starts != "told at the start":
                site.desk.take_events(position)
                it.clock.pass_time(1_000)
            await site.desk.heal_once()
            assert len(put_backs(site)) == 2, starts
            it.clock.pass_time(1_000)
            site.restart()
            await site.desk.heal_once()
            site.desk.take_events(position)
            assert len(put_backs(site)) == 2, starts
        (tmp_path / "doors-numbers").unlink()
        answered(site)
        it.clock.pass_time(1_000)
        copy = site.copy()
        it.ledger.keep_own([("yale", "third", {"event": "third", "at_ms": 3})])
        [(position, _, _)] = site.desk.events(0, 9)
        answered(site)
        it.clock.pass_time(60_000)
        (tmp_path / "doors-numbers").unlink(missing_ok=True)
        site.restart(copy)
        await site.desk.heal_once()
        assert put_backs(site) == [], "nothing is noted beside it"
        site.desk.take_events(position)
        assert len(put_backs(site)) == 2, "and its events tell, as ever"
        it.ledger.close()


async def test_a_copy_that_does_not_know_who_was_withdrawn_is_told_though_no_key_changed(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        site = Site(it, tmp_path, counted=True)
        await site.comes("anna", VILLA_A)
        it.ledger.end_room(VILLA_A, it.clock.wall_ms())
        await site.desk.heal_once()
        assert [each.state for each in site.desk.of_stay("anna")] == [KeyState.ENDED]
        [holder] = {each.holder for each in site.desk.of_stay("anna")}
        copy = site.copy()
        it.ledger.withdraw("anna", None, it.clock.wall_ms())  # his lost phone: it gets none again
        assert it.ledger.is_withdrawn("anna", holder)
        site.restart(copy)
        assert not it.ledger.is_withdrawn("anna", holder)
        await site.desk.heal_once()
        assert put_backs(site) == ["yale-villa-a", "yale-villa-b"]
        it.ledger.close()
