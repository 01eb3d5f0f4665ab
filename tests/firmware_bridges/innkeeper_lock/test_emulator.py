"""The emulated lock remembers what it told, loses what a lock loses, and says the truth on its control socket."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from firmware_bridges.ble_radio.advertisement import decode
from firmware_bridges.guest_phone.phone import Ending
from firmware_bridges.innkeeper_lock.config import BEHAVED, EmulatorConfig, load
from firmware_bridges.innkeeper_lock.control import ControlClient
from firmware_bridges.innkeeper_lock.emulator import main
from firmware_bridges.innkeeper_lock.memory import Memory, Quartz
from firmware_bridges.innkeeper_lock.peripheral import advertising_data
from protocols.door.advert import SERVICE_UUID, Advert, AdvertBit
from protocols.door.lock_core import LockCore
from protocols.errors import InvalidInputError, PeerProtocolError, RefusalReason
from tests.firmware_bridges.innkeeper_lock.world import HELD, START_S, a_property, config, running, until, world

DAY_MS = 86_400_000


async def test_the_memory_is_durable_before_the_motor_turns(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        phone = await hotel.guest("door-101")
        lock = hotel.emulator.locks["door-101"]
        on_disk: list[int] = []
        draw = lock.draw_bolt

        def look_first(link: Any, by: bytes) -> None:
            kept = lock._file.read()
            assert kept is not None
            on_disk.append(kept.core.audit_seq)
            draw(link, by)

        lock.draw_bolt = look_first  # type: ignore[method-assign]  # replaced to look first
        assert (await phone.open("door-101")).ending is Ending.OPENED
        assert on_disk == [lock.core.audit_seq]


async def test_a_restart_finds_generation_and_log_again(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        assert (await (await hotel.guest("door-101", generation=7)).open("door-101")).ending is Ending.OPENED
        await until(lambda: hotel.truth("door-101")["audit_seq"] == 3)  # promoted, opened, thrown again
        before = hotel.truth("door-101")
        clock, one, settings = hotel.clock, hotel.property, config(hotel.property, tmp_path)
    clock.step_wall(3_600_000)
    async with running(clock, one, settings) as hotel:
        after = hotel.truth("door-101")
        assert after["generation"] == before["generation"] == one.generation(7)
        assert after["audit_seq"] == before["audit_seq"]
        assert after["time_s"] == START_S + 3_600  # its quartz went on
        assert (await (await hotel.guest("door-101", generation=6)).open("door-101")).cause is RefusalReason.SUPERSEDED


@pytest.mark.requirement("P8")
async def test_power_loss_costs_the_clock_and_the_links_but_not_the_memory(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        phone = await hotel.guest("door-101")
        assert (await phone.open("door-101")).ending is Ending.OPENED
        before = hotel.truth("door-101")
        await hotel.emulator._obey("lose_power", {"door": "door-101"})
        after = hotel.truth("door-101")
        assert after["generation"] == before["generation"]
        assert after["time_quality"] == "uncertain"
        assert (await phone.open("door-101")).ending is Ending.OPENED, "generation and floor still protect: P8"


async def test_the_advert_fills_the_packet_and_names_the_door_only_to_its_guest(tmp_path: Path) -> None:
    advert = Advert(b"12345678", AdvertBit.BATTERY_LOW)
    payload = advertising_data(advert)
    assert len(payload) == 31
    assert Advert.decode(decode(payload).service_data[SERVICE_UUID]) == advert
    async with world(tmp_path) as hotel:
        lock = hotel.emulator.locks["door-101"]
        assert b"101" not in payload + (lock.peripheral.device.advertising_data or b"")


@pytest.mark.requirement("P13")
async def test_id_and_address_change_together_when_their_time_has_come(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        lock = hotel.emulator.locks["door-101"]
        first = (lock.peripheral.device.advertising_data, hotel.truth("door-101")["address"])
        await lock.tick()
        assert (lock.peripheral.device.advertising_data, hotel.truth("door-101")["address"]) == first
        hotel.clock.step_wall(512_000)
        await lock.tick()
        assert lock.peripheral.device.advertising_data != first[0]
        assert hotel.truth("door-101")["address"] != first[1]
        assert (await (await hotel.guest("door-101")).open("door-101")).ending is Ending.OPENED


async def test_a_touched_handle_wakes_the_lock(tmp_path: Path) -> None:
    async with world(tmp_path, advertising={"idle_ms": 1_000, "woken_ms": 20, "woken_s": 0.05}) as hotel:
        assert hotel.truth("door-101")["interval_ms"] == 1_000
        await hotel.emulator._obey("touch", {"door": "door-101"})
        assert hotel.truth("door-101")["interval_ms"] == 20
        await until(lambda: hotel.truth("door-101")["interval_ms"] == 1_000)
        await hotel.emulator._obey("touch", {"door": "door-101"})
        await hotel.emulator._obey("sleep", {"door": "door-101"})
        assert not hotel.truth("door-101")["woken"]


async def test_the_control_socket_turns_knobs_and_refuses_nonsense(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        control = await ControlClient.connect(hotel.emulator.control.address)
        await control.call("set", door="door-101", battery_percent=12, drift_ppm=200)
        await control.call("step_clock", door="door-101", seconds=90)
        await control.call("air", late=0.5)
        await control.call("advertising", idle_ms=40)
        status = await control.call("status", door="door-101")
        [lock] = status["locks"]
        assert (lock["battery_percent"], lock["drift_ppm"], lock["interval_ms"]) == (12, 200.0, 40)
        assert lock["time_s"] == START_S + 90
        assert status["air"]["late"] == 0.5
        assert (await control.call("drop_links", door="door-101"))["dropped"] == 0
        refused: list[tuple[str, dict[str, Any]]] = [
            ("set", {"door": "door-101", "battery_percent": 101}),
            ("set", {"door": "door-101", "mood": "good"}),
            ("set", {"door": "door-999"}),
            ("touch", {}),
            ("air", {"late": 2}),
            ("step_clock", {"door": "door-101", "seconds": "many"}),
            *(
                ("step_clock", {"door": "door-101", "seconds": far})
                for far in (1e300, math.inf, math.nan, 2**32, -(2**31))
            ),
            ("dance", {}),
        ]
        for do, wrong in refused:
            with pytest.raises(InvalidInputError):
                await control.call(do, **wrong)
        assert (await control.call("status", door="door-101"))["locks"][0]["battery_percent"] == 12
        await control.close()


async def test_an_open_door_is_told_by_its_contact(tmp_path: Path) -> None:
    async with world(tmp_path, knobs=HELD) as hotel:
        assert (await (await hotel.guest("door-101")).open("door-101")).ending is Ending.OPENED
        assert (await hotel.emulator._obey("push", {"door": "door-101"}))["open"]
        await hotel.emulator._obey("set", {"door": "door-101", "door_closed": True})
        contacts = [fact["door_closed"] for fact in hotel.facts if fact["event"] == "contact"]
        assert contacts == [False, True]
        hotel.emulator.locks["door-101"].bolt.throw()
        assert not (await hotel.emulator._obey("push", {"door": "door-101"}))["open"]


async def test_who_does_not_hold_the_doors_keys_costs_the_lock_nothing_but_a_count(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        stranger = await hotel.phone()
        bundle = hotel.bundle(stranger, "door-101").to_document()
        [door] = bundle["doors"]
        door["eik"] = dict.fromkeys(door["eik"], "00" * 16)  # the advert is found by its fallback id alone
        stranger.load_bundle(bundle)
        await hotel.emulator._obey("lose_power", {"door": "door-101"})
        hotel.emulator.locks["door-101"]._memory = Memory(
            LockCore.fresh(hotel.property.locks["door-101"], START_S, 0), Quartz(START_S * 1_000)
        )
        # still showing the fallback id, but its gate is this week's again: the stranger's tag does not fit
        opening = await stranger.open("door-101")
        assert opening.ending is not Ending.OPENED
        assert hotel.truth("door-101")["noise"] >= 1
        assert hotel.motors("door-101") == 0


def test_a_quartz_drifts_steps_and_stops() -> None:
    quartz = Quartz(1_000, 5_000, 100.0)
    assert quartz.rtc_ms_at(1_000 + DAY_MS) == 5_000 + DAY_MS + 8_640
    slower = quartz.drifting(-100.0, 1_000 + DAY_MS)
    assert slower.rtc_ms_at(1_000 + DAY_MS) == quartz.rtc_ms_at(1_000 + DAY_MS)
    assert slower.rtc_ms_at(1_000 + 2 * DAY_MS) == 5_000 + 2 * DAY_MS
    assert quartz.stepped(-2_000).rtc_ms_at(1_000) == 3_000
    assert quartz.stopped(9_000).rtc_ms_at(9_500) == 500


def test_memory_comes_back_as_it_was_kept() -> None:
    lock = a_property().locks["door-101"]
    memory = Memory(LockCore.fresh(lock, START_S, 0), Quartz(START_S * 1_000, 17, -3.5))
    assert Memory.decode(memory.encode()) == memory
    for broken in (b"", b"\x80", memory.encode()[:-1], memory.encode() + b"\x00"):
        with pytest.raises(PeerProtocolError):
            Memory.decode(broken)


def written(folder: Path, document: object) -> Path:
    path = folder / "locks.json"
    path.write_text(json.dumps(document))
    return path


def test_configuration_errors_name_their_place(tmp_path: Path) -> None:
    good: dict[str, Any] = {"v": 1, "state_dir": "s", "locks": [{"door": "a", "identity": {}}]}
    assert isinstance(load(written(tmp_path, good)), EmulatorConfig)
    changes: list[tuple[dict[str, Any], str]] = [
        ({"v": 2}, r"\$\.v"),
        ({"locks": [{"door": "a"}]}, "identity"),
        ({"advertising": {"idle_ms": 1}}, r"\$\.advertising\.idle_ms"),
        ({"colour": "red"}, "colour"),
        ({"locks": good["locks"] * 2}, "a are there twice"),
    ]
    for change, place in changes:
        with pytest.raises(InvalidInputError, match=place):
            load(written(tmp_path, {**good, **change}))
    with pytest.raises(InvalidInputError, match="No such file"):
        load(tmp_path / "absent.json")
    assert main(["--config", str(tmp_path / "absent.json")]) == 2


def test_it_misbehaves_unless_told_not_to(tmp_path: Path) -> None:
    mild = load(written(tmp_path, {"v": 1, "state_dir": "s", "locks": []}))
    assert mild.conditions.drop > 0
    assert mild.conditions.late > 0
    still = load(written(tmp_path, {"v": 1, "state_dir": "s", "locks": [], "misbehaves": False}))
    assert still.conditions == BEHAVED
