"""The wall clock of the real doors process is thrown about, while it runs and across restarts.

It signs nothing while the time is unsound, tells why, keeps what it was told, and signs again when the time is sound.
Doors go on opening all the while, no lock learns a wrong time, and nobody has to be let in by hand.
"""

import os
from pathlib import Path
from typing import Any

import pytest

from edge.doors.errors import ClockUnsoundError
from protocols.device_model.identity import parse_room_id, parse_stay_id
from tests.integration.hotel_doors import CLOCK, Hotel, Phone, Process, a_hotel
from tests.integration.steering import Steering

HOUR_S = 3_600.0
YEAR_S = 365 * 24 * HOUR_S
SETTLED_S = 601.0
"""After a step the clock is believed again when it has gone on evenly for ten minutes (kit/clock.py)."""
OPENED = ("opened", None)
SUPERSEDED = ("refused", "superseded")
DAY_MS = 86_400_000
ROOM_102 = parse_room_id("102")
TO_1970_S = -CLOCK.wall_ms() / 1_000 + HOUR_S


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    os.chmod(tmp_path, 0o700)  # noqa: PTH101 - tmp_path may be a link
    return tmp_path


async def tap(hotel: Hotel, phone: Phone, room: int) -> tuple[str, str | None]:
    await hotel.control.call("touch", door=f"door-{room}")
    said = await phone.ask(do="open", door=f"door-{room}")
    return said["ending"], said["reason"]


async def signs(hotel: Hotel) -> bool:
    return bool((await hotel.doors.status())["signs"])


async def refused(hotel: Hotel, stay: str, room: str) -> None:
    with pytest.raises(ClockUnsoundError):
        await hotel.guest(stay, room)


async def bumps_delivered(hotel: Hotel) -> bool:
    return bool((await hotel.doors.status())["bumps_pending"] == 0)


async def settle(hotel: Hotel, steering: Steering) -> None:
    """Let ten minutes pass, and bring the wall clock back to the true time in steps such as time sources make."""
    steering.pass_time(SETTLED_S)
    for _ in range(3):
        assert await signs(hotel)
        steering.jump(-SETTLED_S / 3)
    assert await signs(hotel)


async def no_lock_was_misled(hotel: Hotel) -> None:
    """Locks' clocks run with the true one, but for the ten minutes that a test lets pass."""
    for lock in (await hotel.control.call("status"))["locks"]:
        assert abs(lock["time_s"] - CLOCK.wall_ms() / 1_000) <= SETTLED_S + 5, lock


async def reset_clock(hotel: Hotel) -> dict[str, Any]:
    command = (
        "doors-reset-clock",
        "--config",
        str(hotel.folder / "doors.toml"),
        "--by",
        "Ida Night",
        "--reason",
        "dead cell",
    )
    return await (await Process.start("edge.app.main", *command)).line()


@pytest.mark.guarantee("G3", "G4", "G10")
@pytest.mark.requirement("P8")
@pytest.mark.parametrize("trust", ["host", "ntp"])
async def test_jumps_while_it_runs(folder: Path, trust: str) -> None:
    steering = Steering(folder)
    environment = {**steering.environment, "DOORS_CLOCK_TRUST": trust}
    async with a_hotel(folder, rooms=(101, 102), environment=environment, phones_together=True) as hotel:
        anna = await hotel.guest("stay-anna", "101")
        assert await tap(hotel, anna, 101) == OPENED
        for number, jump_s in enumerate((5 * HOUR_S, -5 * HOUR_S, 3 * YEAR_S, TO_1970_S)):
            leaver = await hotel.guest(f"stay-{number}", "102")
            assert await tap(hotel, leaver, 102) == OPENED
            steering.jump(jump_s)
            await refused(hotel, f"stay-{number}-next", "102")
            assert not await signs(hotel)
            await hotel.doors.end_stay(parse_stay_id(f"stay-{number}"))  # ending asks no clock, and is kept
            assert await tap(hotel, anna, 101) == OPENED, "who has a key opens, whatever the hour is called"
            assert (await hotel.doors.status())["bumps_pending"] == 1, "nothing is signed, a bump neither"
            await no_lock_was_misled(hotel)
            steering.jump(-jump_s)
            await refused(hotel, f"stay-{number}-next", "102")  # set right, it has to prove that it stays so
            await settle(hotel, steering)
            following = await hotel.guest(f"stay-{number}-next", "102")
            await hotel.until(lambda: bumps_delivered(hotel))
            assert await tap(hotel, following, 102) == OPENED
            assert await tap(hotel, leaver, 102) == SUPERSEDED
            await hotel.doors.end_stay(parse_stay_id(f"stay-{number}-next"))
            await hotel.until(lambda: bumps_delivered(hotel))
            await no_lock_was_misled(hotel)
        assert await tap(hotel, anna, 101) == OPENED


@pytest.mark.guarantee("G3", "G10")
@pytest.mark.requirement("P8")
@pytest.mark.parametrize("trust", ["host", "ntp"])
@pytest.mark.parametrize("jump_s", [-5 * HOUR_S, TO_1970_S], ids=["hours back", "1970"])
async def test_a_start_with_the_clock_behind_its_last_signature(folder: Path, trust: str, jump_s: float) -> None:
    steering = Steering(folder)
    environment = {**steering.environment, "DOORS_CLOCK_TRUST": trust}
    async with a_hotel(folder, rooms=(101, 102), environment=environment, phones_together=True) as hotel:
        anna = await hotel.guest("stay-anna", "101")
        assert await tap(hotel, anna, 101) == OPENED
        await hotel.edge.kill()
        steering.jump(jump_s)
        await hotel.start_doors()
        await refused(hotel, "stay-bert", "102")
        await hotel.doors.end_stay(parse_stay_id("stay-anna"))
        assert await tap(hotel, anna, 101) == OPENED, "it cannot be told yet, and nobody is locked out by a guess"
        steering.jump(-jump_s)
        await refused(hotel, "stay-bert", "102")
        await settle(hotel, steering)
        bert = await hotel.guest("stay-bert", "102")
        assert await tap(hotel, bert, 102) == OPENED
        await hotel.until(lambda: bumps_delivered(hotel))
        assert await tap(hotel, anna, 101) == SUPERSEDED
        await no_lock_was_misled(hotel)


@pytest.mark.guarantee("G10")
@pytest.mark.requirement("P8")
async def test_a_new_store_signs_nothing_before_the_program_was_made(folder: Path) -> None:
    """A dead cell says 1970 and the host's word is taken: no signature from before speaks against it."""
    steering = Steering(folder)
    steering.jump(TO_1970_S)
    async with a_hotel(folder, rooms=(101,), environment=steering.environment, phones_together=True) as hotel:
        await refused(hotel, "stay-anna", "101")
        assert not await signs(hotel)
        steering.jump(-TO_1970_S)
        await refused(hotel, "stay-anna", "101")
        await settle(hotel, steering)
        anna = await hotel.guest("stay-anna", "101")
        assert await tap(hotel, anna, 101) == OPENED


@pytest.mark.guarantee("G10")
@pytest.mark.requirement("P8")
async def test_a_kernel_that_hears_no_time_source_is_not_believed_until_it_does(folder: Path) -> None:
    steering = Steering(folder)
    steering.set_disciplined(disciplined=False)
    environment = {**steering.environment, "DOORS_CLOCK_TRUST": "ntp"}
    async with a_hotel(folder, rooms=(101,), environment=environment, phones_together=True) as hotel:
        await refused(hotel, "stay-anna", "101")
        steering.set_disciplined(disciplined=True)
        steering.pass_time(2)  # the kernel is asked once a second
        anna = await hotel.guest("stay-anna", "101")
        assert await tap(hotel, anna, 101) == OPENED
        steering.set_disciplined(disciplined=False)
        steering.pass_time(71 * HOUR_S)
        assert await signs(hotel), "a crystal is good for 72 hours"
        steering.pass_time(2 * HOUR_S)
        assert not await signs(hotel)


@pytest.mark.guarantee("G3", "G4", "G10")
@pytest.mark.requirement("P8")
async def test_years_ahead_and_believed_is_undone_by_name_and_no_lock_took_it(folder: Path) -> None:
    """The host's word was wrong over a restart, so nothing tells: what was signed then opens and poisons nothing."""
    steering = Steering(folder)
    async with a_hotel(folder, rooms=(101, 102), environment=steering.environment, phones_together=True) as hotel:
        anna = await hotel.guest("stay-anna", "101")
        assert await tap(hotel, anna, 101) == OPENED
        await hotel.edge.kill()
        steering.jump(3 * YEAR_S)
        await hotel.start_doors()
        assert await signs(hotel)
        _, key = await hotel.phone()
        now_ms = CLOCK.wall_ms() + round(3 * YEAR_S * 1_000)
        await hotel.doors.issue(
            parse_stay_id("stay-then"), ROOM_102, bytes.fromhex(key), not_before_ms=now_ms, not_after_ms=now_ms + DAY_MS
        )
        await hotel.doors.end_stay(parse_stay_id("stay-anna"))
        assert await tap(hotel, anna, 101) == OPENED, "no lock takes a bump of a day to come"
        await no_lock_was_misled(hotel)
        await hotel.edge.kill()
        steering.jump(-3 * YEAR_S)
        await hotel.start_doors()
        await refused(hotel, "stay-bert", "102")
        told = await reset_clock(hotel)
        assert told["lying_locks"] == []
        bert = await hotel.guest("stay-bert", "102")
        assert await tap(hotel, bert, 102) == OPENED
        await hotel.until(lambda: bumps_delivered(hotel))
        assert await tap(hotel, anna, 101) == SUPERSEDED, "what was ended meanwhile is ended"
        await hotel.edge.kill()  # and it holds over a restart
        await hotel.start_doors()
        emil = await hotel.guest("stay-emil", "102")
        assert await tap(hotel, emil, 102) == OPENED
        assert await tap(hotel, bert, 102) == SUPERSEDED
        await no_lock_was_misled(hotel)
