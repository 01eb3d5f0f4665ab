"""August and Yale locks by Bluetooth: the library's frames on the emulated air, a lock with bad manners behind them."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edge.bridges.ble.choice import chosen_backend
from edge.bridges.ble.door_radio import BleDoorRadio
from edge.bridges.ble.reach import HouseReach
from edge.doors.radio import RadioSettings
from edge.doors.vendors.august_ble import HEARD_MOST_MS, AugustBle, BleLock
from edge.doors.vendors.desk import KeyDesk
from edge.doors.vendors.foreign import ForeignSystem
from edge.doors.vendors.insist import insist
from edge.doors.vendors.ledger import KeyLedger, KeyState
from edge.doors.vendors.port import (
    KeyMade,
    Truth,
    VendorBusyError,
    VendorFaultError,
    VendorRefusedError,
    WantedKey,
)
from firmware_bridges.august.ble_lock import YaleLock, YaleManners, quiet
from firmware_bridges.ble_radio.air import Air, device_on
from firmware_bridges.ble_radio.backend import BleBackend
from firmware_bridges.ble_radio.radio import Radio, use_radio
from kit.clock import ManualClock, SystemClock
from kit.dice import SeededDice
from kit.metrics import Metrics
from protocols.device_model.identity import PropertyId, RoomId
from protocols.errors import InvalidInputError, LinkLostError, PlatformError, ReplyTimeoutError
from tests.seeds import seeds

pytestmark = [pytest.mark.requirement("P20"), pytest.mark.requirement("ACC-01")]
A, B = "villa-a", "villa-b"
HOUR_MS = 3_600_000
SLOTS = range(40, 44)
KEY = bytes(range(16))
WAIT_S = 10.0


@pytest.fixture(autouse=True)
def no_cooldown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library lets a lock rest for a quarter of a second between commands; the emulated one is never tired."""
    monkeypatch.setattr("yalexs_ble.session.COOLDOWN_TIME", 0.0)


class BenchClock(ManualClock):
    """Wall time by hand, monotonic time as it is."""

    def __init__(self) -> None:
        super().__init__()
        self._real = SystemClock("host")
        self.later_ms = 0

    def now_ms(self) -> int:
        return self._real.now_ms() + self.later_ms

    def pass_time(self, ms: int) -> None:
        self.advance(ms)
        self.later_ms += ms


@dataclass
class Bench:
    reach: HouseReach
    radio: BleDoorRadio
    clock: BenchClock
    ledger: KeyLedger
    locks: dict[str, YaleLock] = field(default_factory=dict)
    key: bytes = KEY

    def system(self) -> AugustBle:
        known = {door: BleLock(lock.address, self.key, 1) for door, lock in self.locks.items()}
        return AugustBle("yale", locks=known, slots=SLOTS, reach=self.reach, book=self.ledger, clock=self.clock)

    def wanted(
        self, grant: str = "ik-0001", doors: tuple[str, ...] = (A,), *, pin: str = "481516", in_ms: int = -HOUR_MS
    ) -> WantedKey:
        now_ms = self.clock.wall_ms()
        return WantedKey(grant, doors, now_ms + in_ms, now_ms + 24 * HOUR_MS, "pin", pin=pin)

    async def insist(self, system: AugustBle, wanted: WantedKey) -> KeyMade:
        return await insist(
            lambda: system.issue(wanted),
            what="issue",
            deadline_s=60,
            clock=SystemClock("host"),
            dice=SeededDice(1),
            attempts_most=40,
            sleep=_soon,
        )

    async def heard(self) -> None:
        async with asyncio.timeout(WAIT_S):
            while any(self.reach.heard_ms_ago(each.address) is None for each in self.locks.values()):
                await asyncio.sleep(0.005)


async def _soon(_seconds: float) -> None:
    """The emulator has no patience to be tried."""


async def _listen(radio: BleDoorRadio) -> None:
    async with aclosing(radio.sightings()) as sightings:
        async for _ in sightings:
            pass


@asynccontextmanager
async def bench(
    folder: Path, *, manners: YaleManners | None = None, seed: int = 0, bluez: bool = False
) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        air = Air(dice=SeededDice(seed))
        radio = await stack.enter_async_context(Radio(device_on(air, "edge", address=b"\xee" * 6)))
        await radio.power_on()
        clock, reach = BenchClock(), HouseReach()
        backend = await _bluez(radio, stack) if bluez else use_radio(radio)
        door_radio = BleDoorRadio(backend, clock, also=reach.wanted)
        ledger = KeyLedger(folder / "vendor-keys.db", epoch=bytes(16))
        it = Bench(reach, door_radio, clock, ledger)
        for number, door in enumerate((A, B), start=1):
            device = device_on(air, door, address=bytes([number]) * 6)
            await device.power_on()
            lock = YaleLock(device, key=KEY, key_slot=1, dice=SeededDice(f"{seed} {door}"), manners=manners or quiet())
            await lock.advertise()
            it.locks[door] = lock
            stack.push_async_callback(device.power_off)
            stack.push_async_callback(device.stop_advertising)
        it.system()  # says whom it wants to hear of
        stack.enter_context(reach.using(door_radio))
        listening = asyncio.create_task(_listen(door_radio))
        try:
            await it.heard()
            yield it
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            ledger.close()


async def _bluez(radio: Radio, stack: AsyncExitStack) -> BleBackend:
    from firmware_bridges.ble_radio.bluez.bus import private_bus
    from firmware_bridges.ble_radio.bluez.daemon import Bluetoothd
    from firmware_bridges.ble_radio.bluez.manners import tame

    daemon = Bluetoothd(radio, SeededDice("bluez"), manners=tame())
    stack.push_async_callback(daemon.crash)
    bus = await stack.enter_async_context(private_bus())
    await daemon.start(bus.address)
    stack.enter_context(pytest.MonkeyPatch.context()).setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    return await stack.enter_async_context(chosen_backend(RadioSettings(kind="bluez")))


@pytest.mark.parametrize("bluez", [False, pytest.param(True, marks=pytest.mark.tier("dbus"))], ids=["bumble", "bluez"])
async def test_a_key_is_made_found_changed_moved_and_ended(tmp_path: Path, bluez: bool) -> None:
    async with bench(tmp_path, bluez=bluez) as it:
        system = it.system()
        it.locks[A].pins[7] = "9999"  # somebody else's, in a slot that is not ours
        made = await system.issue(it.wanted())
        assert (made.truth, made.found, made.code) == (Truth.CONFIRMED, False, "481516")
        assert it.locks[A].opens("481516")
        assert it.locks[B].pins == {}
        again = await system.issue(it.wanted())
        assert (again.key, again.found) == (made.key, True)
        assert list(it.locks[A].pins.values()).count("481516") == 1
        await system.issue(it.wanted(pin="230042"))
        assert sorted(it.locks[A].pins.values()) == ["230042", "9999"]
        moved = await system.issue(it.wanted(doors=(B,), pin="230042"))
        assert moved.truth is Truth.CONFIRMED
        assert (it.locks[A].pins, list(it.locks[B].pins.values())) == ({7: "9999"}, ["230042"])
        ended = await system.revoke("ik-0001")
        assert (ended.found, ended.truth, it.locks[B].pins) == (True, Truth.CONFIRMED, {})
        assert not (await system.revoke("ik-0001")).found
        assert it.radio.slots.held == frozenset()


async def test_before_its_time_a_key_is_not_in_the_lock_and_says_when_to_come_again(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        with pytest.raises(VendorBusyError, match="keeps no hours") as busy:
            await it.system().issue(it.wanted(in_ms=HOUR_MS))
        assert busy.value.wait_ms == HOUR_MS
        assert it.locks[A].pins == {}


@pytest.mark.guarantee("G13")
@pytest.mark.parametrize("seed", seeds(1, 40))
async def test_a_lock_with_bad_manners_gets_each_pin_once_and_keeps_none(tmp_path: Path, seed: int) -> None:
    async with bench(tmp_path, manners=YaleManners(slow_ms=2), seed=seed) as it:
        system = it.system()
        it.locks[A].pins[7] = "9999"
        pins = {"ik-0001": "481516", "ik-0002": "230042"}
        for grant, pin in pins.items():
            await it.insist(system, it.wanted(grant, pin=pin))
        assert sorted(it.locks[A].pins.values()) == ["230042", "481516", "9999"]
        await it.insist(system, it.wanted("ik-0001", (B,), pin=pins["ik-0001"]))
        assert sorted(it.locks[A].pins.values()) == ["230042", "9999"]
        for grant in pins:
            for _ in range(40):
                with suppress(PlatformError):
                    assert (await system.revoke(grant)).truth is Truth.CONFIRMED
                    break
            else:
                pytest.fail(f"{grant} was never ended")
        assert (it.locks[A].pins, it.locks[B].pins) == ({7: "9999"}, {})
        assert it.radio.slots.held == frozenset()


async def test_what_a_lost_book_held_is_cleared_and_what_is_not_ours_is_left(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.locks[A].pins |= {7: "9999", 41: "123456", 43: "654321"}  # 40 to 43 are ours, of a life before
        assert not (await it.system().revoke("ik-0009")).found
        assert it.locks[A].pins == {7: "9999"}
        before = it.locks[A].links
        assert not (await it.system().revoke("ik-0009")).found
        assert it.locks[A].links == before  # known to be empty: nobody is asked again


async def test_digits_that_another_has_are_told_so_that_others_are_chosen(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.locks[A].pins[7] = "481516"
        with pytest.raises(VendorRefusedError) as taken:
            await it.system().issue(it.wanted())
        assert taken.value.code == "pin-taken"
        await it.system().issue(it.wanted(pin="230042"))
        assert it.locks[A].pins == {7: "481516", 40: "230042"}


async def test_no_room_is_said_and_costs_nobody_his_slot(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        system = it.system()
        for number in range(len(SLOTS)):
            await system.issue(it.wanted(f"ik-000{number}", pin=f"77000{number}"))
        with pytest.raises(VendorRefusedError, match="no slot is free"):
            await system.issue(it.wanted("ik-0009"))
        await system.revoke("ik-0002")
        await system.issue(it.wanted("ik-0009"))
        assert sorted(it.locks[A].pins.values()) == ["481516", "770000", "770001", "770003"]
        await system.revoke("ik-0009")
        it.locks[A]._capacity = 3
        with pytest.raises(VendorRefusedError, match="no room left"):
            await system.issue(it.wanted("ik-0010"))


async def test_a_wrong_offline_key_is_refused_by_name(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.key = bytes(16)
        with pytest.raises(VendorRefusedError) as refused:
            await it.system().issue(it.wanted())
        assert refused.value.code == "wrong-key"
        assert "key=" not in repr(it.system()._locks)


@pytest.mark.guarantee("G13")
async def test_a_door_opened_from_afar_opens_once_and_what_is_unknown_is_said(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        system, lock = it.system(), it.locks[A]
        assert (await system.open_door(A, actor="desk")).truth is Truth.CONFIRMED
        assert lock.turned == 1
        lock.manners.drop_after = 1.0
        with pytest.raises(ReplyTimeoutError) as unknown:
            await system.open_door(A, actor="desk")
        assert unknown.value.may_have_taken_effect
        assert lock.turned == 2
        lock.manners = quiet()
        lock.manners.jam = 1.0
        with pytest.raises(VendorFaultError, match="mech timeout"):
            await system.open_door(A, actor="desk")
        assert lock.turned == 2


async def test_without_a_radio_or_a_sighting_nothing_is_begun(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        system = it.system()
        assert (await system.health())[A].online
        await it.locks[A].device.stop_advertising()
        await asyncio.sleep(0.03)  # what was on its way
        stopped_ms = it.clock.now_ms()
        async with asyncio.timeout(WAIT_S):  # and is through: what came after it was heard
            while (
                ago_ms := it.reach.heard_ms_ago(it.locks[B].address)
            ) is None or it.clock.now_ms() - ago_ms <= stopped_ms:
                await asyncio.sleep(0.005)
        it.clock.pass_time(HEARD_MOST_MS + 1)
        async with asyncio.timeout(WAIT_S):
            while not (await system.health())[B].online:
                await asyncio.sleep(0.005)
        assert (await system.health())[A].online is False
        it.reach._radio = None
        with pytest.raises(LinkLostError, match="no Bluetooth radio"):
            await system.issue(it.wanted())
        assert it.ledger.slots("yale", A) == {}


async def test_medium_door_and_time_are_checked_first(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        system, wanted = it.system(), it.wanted()
        with pytest.raises(InvalidInputError, match="doors"):
            await system.issue(it.wanted(doors=("elsewhere",)))
        it.clock.advance(48 * HOUR_MS)
        with pytest.raises(VendorRefusedError, match="time is over"):
            await system.issue(wanted)
        assert it.locks[A].links == 0


async def test_the_desk_keeps_the_hours_that_the_lock_does_not(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        room = RoomId("villa-a")
        foreign = ForeignSystem("yale", it.system(), {room: (A,)}, deadline_s=8, poll_s=10, medium="pin")
        desk = KeyDesk(
            [foreign],
            property_id=PropertyId("house"),
            ledger=it.ledger,
            clock=it.clock,
            dice=SeededDice("desk"),
            metrics=Metrics("doors"),
        )
        now_ms = it.clock.wall_ms()
        [key] = await desk.issue("stay-1", [room], not_before_ms=now_ms + HOUR_MS, not_after_ms=now_ms + 3 * HOUR_MS)
        assert (key.state, key.code) == (KeyState.WANTED, None)
        assert key.problem is not None
        assert "keeps no hours" in key.problem
        for _ in range(12):  # five minutes each: it comes again as its time begins, and not before
            assert it.locks[A].pins == {}
            it.clock.pass_time(HOUR_MS // 12)
            await desk.heal_once()
        [key] = desk.of_stay("stay-1")
        assert (key.state, key.truth) == (KeyState.MADE, Truth.CONFIRMED.value)
        assert key.code is not None
        assert it.locks[A].opens(key.code)
        it.clock.pass_time(2 * HOUR_MS)
        await desk.heal_once()
        assert it.locks[A].pins == {}
        assert desk.of_stay("stay-1")[0].state is KeyState.ENDED


@pytest.mark.guarantee("G7")
async def test_no_pin_and_no_key_is_in_a_log_or_an_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    manners = YaleManners(drop_before=0.1, drop_after=0.1, busy=0.1, noise=0.2, garbled=0.2, slow_ms=0)
    async with bench(tmp_path, manners=manners, seed=5) as it:
        system = it.system()
        for number in range(5):
            wanted = it.wanted(f"ik-00{number % 2:02}", pin=f"48151{number % 2}")
            try:
                await system.issue(wanted)
            except PlatformError as error:
                said += [str(error), repr(error), repr(error.__cause__)]
    assert said
    whole = "\n".join([*said, *(each.getMessage() for each in caplog.records if "bumble" not in each.name)])
    assert "481510" not in whole
    assert "481511" not in whole
    assert KEY.hex() not in whole
